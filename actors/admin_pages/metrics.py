"""What monitoring systems fetch, in Prometheus' text format (OPS-15)."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from actors.admin_pages.answers import Status
from actors.admin_pages.desk import Desk
from actors.admin_pages.reading import WELL, status
from backends.batch.asking import Asking, Traffic
from backends.channel.base import ChannelState
from supervisors import SystemSnapshot

EVENTS = ("requested", "allocated", "in_progress", "generated", "merged", "delivered", "lost")


async def metrics(desk: Desk, request: web.Request) -> web.Response:
    """Look once and write it down; the registry is our own and lives as long as the answer."""
    seen, snapshot = await status(desk, request), desk.system.snapshot()
    registry = CollectorRegistry()
    registry.register(
        _Seen(
            [
                *_work(seen),
                *_process(seen, snapshot),
                *_actors(snapshot),
                *_hosts(desk.world.hosts.states()),
                *_asked(desk),
                *_moving(desk),
            ]
        )
    )
    return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


class _Seen:
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _family(kind: Any, name: str, about: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    family: Any = kind(f"prodagent_{name}", about, labels=labels)
    for given, value in values:
        family.add_metric(given, value)
    return family  # type: ignore[no-any-return]


def _gauge(name: str, about: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    return _family(GaugeMetricFamily, name, about, labels, values)


def _counter(name: str, about: str, labels: list[str], values: Iterable[tuple[list[str], float]]) -> Metric:
    return _family(CounterMetricFamily, name, about, labels, values)


def _work(seen: Status) -> Iterator[Metric]:
    sites = [([row.site, row.target, state], count) for row in seen.sites for state, count in row.states.items()]
    yield _gauge("jobs", "Jobs by state", ["site", "target", "state"], sites)
    events = [([flow.name, kind], getattr(flow, kind)) for flow in seen.workflows for kind in EVENTS]
    yield _gauge("events", "Events of a workflow: requested, merged, lost, ...", ["workflow", "kind"], events)
    transfers = [([state], count) for state, count in seen.totals.transfers.items()]
    yield _gauge("transfers", "Transfers by state", ["state"], transfers)
    files = [([state], count) for state, count in seen.totals.files.items()]
    yield _gauge("files", "Files by state", ["state"], files)
    levels = Counter(alert.level for alert in seen.alerts)
    alerts = [([level], levels[level]) for level in ("info", "warning", "error", "critical")]
    yield _gauge("open_alerts", "Open alerts by level", ["level"], alerts)


def _process(seen: Status, snapshot: SystemSnapshot) -> Iterator[Metric]:
    agent = seen.agent
    yield _gauge("uptime_seconds", "Time since the start", [], [([], agent.uptime)])
    yield _gauge("loop_lag_seconds", "How late the event loop was, last sample", [], [([], agent.loop_lag)])
    yield _gauge("loop_lag_max_seconds", "How late it was at worst", [], [([], snapshot.loop_lag_max)])
    if agent.snapshot_at is not None:
        yield _gauge("snapshot_timestamp_seconds", "Of when the newest snapshot is", [], [([], agent.snapshot_at)])
    yield _counter("store_commits", "Commits of the store's writer", [], [([], agent.store_commits)])
    yield _counter("store_units", "Units of work in these commits", [], [([], agent.store_units)])
    waiting = seen.dead_letters
    yield _gauge("parked_facts", "Facts and messages that wait for a person", [], [([], waiting)])
    lost = [([count.actor, count.reason], count.count) for count in snapshot.dead_letter_counts]
    yield _counter("dead_letters", "Messages that nobody handled", ["actor", "reason"], lost)


def _actors(snapshot: SystemSnapshot) -> Iterator[Metric]:
    actors = [actor for actor in snapshot.actors if actor.kind == "actor"]

    def each(field: str) -> list[tuple[list[str], float]]:
        return [([actor.name], float(getattr(actor, field))) for actor in actors]

    up = [([actor.name], float(actor.state in WELL)) for actor in actors]
    yield _gauge("actor_up", "Whether the actor runs", ["actor"], up)
    yield _gauge("actor_mailbox_depth", "Messages that wait", ["actor"], each("depth"))
    yield _gauge("actor_mailbox_high_water", "Most messages that waited", ["actor"], each("high_water"))
    yield _gauge("actor_current_age_seconds", "Age of the message being handled", ["actor"], each("current_age"))
    yield _gauge("actor_handler_p99_seconds", "Slow handlers of late", ["actor"], each("p99"))
    yield _counter("actor_handled", "Messages handled", ["actor"], each("handled"))
    yield _counter("actor_restarts", "Restarts", ["actor"], each("restarts"))


def _moving(desk: Desk) -> Iterator[Metric]:
    sums = desk.world.progress.sums()
    done = [([site], float(found[0])) for site, found in sums.items()]
    yield _gauge("transfer_done_bytes", "Bytes that have come of the copies under way", ["destination"], done)
    pace = [([site], found[1]) for site, found in sums.items()]
    yield _gauge("transfer_rate_bytes", "Bytes a second of the copies under way", ["destination"], pace)


def asked(desk: Desk) -> dict[str, Traffic]:
    """Return what each target has asked of its site, by target; of those that ask at all."""
    found = desk.world.batches.items()
    return {target: batch.traffic() for target, batch in found if isinstance(batch, Asking)}


def _asked(desk: Desk) -> Iterator[Metric]:
    """How much each site is asked for each of its targets."""
    sites = {target: site for target, (site, _) in desk.world.targets().items()}
    counted = [([sites.get(target, ""), target], traffic) for target, traffic in asked(desk).items()]
    names = ["site", "target"]
    yield _counter("target_calls", "Calls to the site", names, [(where, float(one.calls)) for where, one in counted])
    hour = [(where, float(one.calls_last_hour)) for where, one in counted]
    yield _gauge("target_calls_last_hour", "Calls to the site within the last hour", names, hour)


def _hosts(hosts: list[ChannelState]) -> Iterator[Metric]:
    """What each host that is reached by SSH is asked (PA-305)."""

    def each(field: str) -> list[tuple[list[str], float]]:
        return [([host.host], float(value)) for host in hosts if (value := getattr(host, field)) is not None]

    yield _gauge(
        "host_up", "Whether the connection is open", ["host"], [([h.host], float(h.state == "open")) for h in hosts]
    )
    yield _counter("host_connections", "Connections made", ["host"], each("connections"))
    yield _counter("host_calls", "Commands run", ["host"], each("calls"))
    yield _gauge("host_calls_last_hour", "Commands of the last hour", ["host"], each("calls_last_hour"))
    yield _gauge("host_calls_per_hour_limit", "Most commands within an hour", ["host"], each("calls_per_hour_limit"))
    yield _counter("host_failures", "Failed connections and commands", ["host"], each("failures"))
    yield _gauge("host_slots", "Commands that may run at once now", ["host"], each("slots"))
    yield _gauge("host_answer_seconds", "How long an answer takes of late", ["host"], each("answer_s"))

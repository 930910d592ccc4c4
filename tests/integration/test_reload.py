"""The configuration of an agent that runs is read anew: what can change live acts at once, what is wrong changes nothing."""

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from actors.messages import LimitSet, Refused, Reload, Reloaded, Revised, ReviseWorkflow, SetLimit, Wake
from domain import events as e
from domain.events import Event
from domain.revising import Revision
from storage import alerts, controls, laws, messages, schema
from storage.views.sites import all_sites
from tests.integration.agent import Agent, beta, running, workflow

pytestmark = pytest.mark.feature("OPS-03", "PA-205", "PA-206")
WAITS = "until [ -e {gate} ]; do sleep 0.05; done; seq {{first_event}} {{last_event}} > '{{output}}'"
LIMIT = """
[sites.alpha.targets.alpha-local.limits]
processing = 1
"""


def change(agent: Agent, old: str, new: str) -> None:
    path = agent.directory / "agent.toml"
    text = path.read_text()
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new))


async def reload(agent: Agent, **more: object) -> Reloaded:
    answer: Reloaded = await agent.system.ref("reloader").ask(Reload(who="ann", **more))  # type: ignore[arg-type]
    return answer


def lines(answer: Reloaded) -> list[tuple[str, str | None, str | None, bool]]:
    return [(one.key, one.before, one.after, one.restart) for one in answer.changes]


async def jobs_at(agent: Agent) -> Counter[tuple[str | None, str]]:
    """Return the jobs by target and state."""
    query = sa.select(schema.job.c.target, schema.job.c.state)
    return Counter(tuple(row) for row in await agent.world.store.read(lambda c: c.execute(query).all()))


async def until(agent: Agent, kind: type[Event], target: str, state: str, count: int) -> None:
    """Wait for facts of a kind until there are so many jobs."""
    signal = agent.fact(kind)
    while True:
        seen = signal.count
        if (await jobs_at(agent))[target, state] == count:
            return
        await signal.reached(seen + 1)


async def test_a_limit_acts_at_once_and_a_look_changes_nothing(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running(tmp_path, more=LIMIT) as agent:
        await agent.submit(workflow(events=40, command=WAITS.format(gate=gate)))
        await until(agent, e.JobsStarted, "alpha-local", "running", 1)
        assert sum((await jobs_at(agent)).values()) == 4
        change(agent, "processing = 1", "processing = 4")
        wanted = [("sites.alpha.targets.alpha-local.limits.processing", "1", "4", False)]
        assert lines(await reload(agent, dry_run=True)) == wanted
        assert (agent.world.settings.sites["alpha"].targets["alpha-local"].limits.processing) == 1
        before = agent.system.instance("tracker.alpha-local")
        released = agent.fact(e.JobsReleased).count
        assert lines(await reload(agent)) == wanted
        await agent.fact(e.JobsReleased).reached(released + 1, within=5.0)
        await until(agent, e.JobsStarted, "alpha-local", "running", 2)
        assert (await jobs_at(agent))["alpha-local", "pending"] <= 2
        assert agent.system.instance("tracker.alpha-local") is before, "nobody is replaced who keeps nothing of it"
        assert lines(await reload(agent)) == [], "what is in force is no difference"
        (fact,) = (await agent.world.store.read(lambda c: messages.history(c, "settings", 1))).facts
        assert (fact.more["who"], fact.more["changes"]) == ("ann", [f"{wanted[0][0]}: 1 -> 4"])
        order = SetLimit(target="alpha-local", limit="processing", value=3, who="bob")
        assert await agent.system.ref("steward").ask(order) == LimitSet(before=4, after=3, configured=4)
        change(agent, "processing = 4", "processing = 9")
        (held,) = (await reload(agent)).changes
        assert (held.after, held.held) == ("9", "bob's 3 holds"), "whose word counts is said"
        (_, fact) = (await agent.world.store.read(lambda c: messages.history(c, "settings", 1))).facts
        assert fact.more["changes"] == [f"{wanted[0][0]}: 4 -> 9 (bob's 3 holds)"]
        gate.touch()
        await agent.fact(e.WorkflowsCompleted).reached()


@pytest.mark.usefixtures("both_stores")
async def test_a_target_that_is_added_runs_jobs_and_one_that_is_taken_out_runs_empty_first(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running(tmp_path) as agent:
        path = tmp_path / "agent.toml"
        alone = path.read_text()
        path.write_text(alone + beta())
        found = await reload(agent)
        assert ("sites.beta.storage.root", None, '"beta/storage"', False) in lines(found)
        assert found.failed == []
        await agent.submit(workflow(events=20, command=WAITS.format(gate=gate), deliver_to=["alpha"], sites=["beta"]))
        await until(agent, e.JobsStarted, "beta-local", "running", 2)
        path.write_text(alone)
        assert (await reload(agent)).leaving == ["beta-local"]
        (closed,) = [
            site for site in await agent.world.store.read(lambda c: all_sites(c, agent.world.settings, 0.0))
            if site.name == "beta"
        ]  # fmt: skip
        assert closed.targets[0].free == {"processing": 0, "merge": 10}, "it gets no new work, its merges go on"
        assert lines(await reload(agent)) == [], "that it leaves is told once"
    async with running(tmp_path) as agent:
        assert "beta" in agent.world.settings.sites, "an agent that comes back meanwhile still asks after its jobs"
        gate.touch()
        await agent.fact(e.WorkflowsCompleted).reached()
        await agent.fact(e.SettingsChanged).reached()
        assert (await reload(agent, dry_run=True)).leaving == []
        assert "beta-local" not in agent.world.batches
        assert [name for name in agent.system.names() if name.endswith("beta-local")] == []
        assert sorted(int(n) for f in (tmp_path / "alpha/storage").rglob("*.txt") for n in f.read_text().split()) == [
            *range(1, 21)
        ]


async def test_a_file_that_will_not_do_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        before = agent.world.settings
        change(agent, "slots = 2", "slots = 2\npol_s = 3.0\nmax_submit = 0")
        with pytest.raises(Refused) as refused:
            await reload(agent)
        text = str(refused.value)
        assert "agent.toml: sites.alpha.targets.alpha-local.max_submit: got 0, expected a whole number" in text
        assert (
            "sites.alpha.targets.alpha-local.pol_s: got an unknown key, expected a known key; did you mean 'poll_s'?"
            in text
        )
        assert agent.world.settings is before
        told = await agent.world.store.read(alerts.open_alerts)
        assert [(alert.code, alert.subject) for alert in told] == [("reload", "configuration")]
        change(agent, "slots = 2\npol_s = 3.0\nmax_submit = 0", "slots = 3")
        assert lines(await reload(agent)) == [("sites.alpha.targets.alpha-local.slots", "2", "3", False)]
        assert await agent.world.store.read(alerts.open_alerts) == []
        change(agent, 'root = "gamma/storage"', 'root = "delta/storage"')
        assert lines(await reload(agent)) == [("sites.gamma.storage.root", '"gamma/storage"', '"delta/storage"', False)]
        await agent.submit(workflow())
        await agent.fact(e.WorkflowsCompleted).reached()
        assert not (tmp_path / "gamma").exists()
        found = [int(n) for file in (tmp_path / "delta").rglob("*.txt") for n in file.read_text().split()]
        assert sorted(found) == list(range(1, 41))


async def test_what_needs_a_restart_is_named_and_not_applied(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        change(agent, "port = 0", "port = 18642")
        change(agent, "\n[cleanup]\nsweep_s = 0.2", "\n[cleanup]\nsweep_s = 0.1\n[supervision]\nmailbox = 10")
        before = agent.system.instance("cleanup")
        assert lines(await reload(agent)) == [
            ("admin.port", "0", "18642", True), ("cleanup.sweep_s", "0.2", "0.1", False),
            ("supervision.mailbox", "1000", "10", True),
        ]  # fmt: skip
        now = agent.world.settings
        assert (now.admin.port, now.cleanup.sweep_s, now.supervision.mailbox) == (0, 0.1, 1000)
        assert agent.system.instance("cleanup") is not before, "whoever keeps something of it is replaced"
        assert [one.key for one in (await reload(agent)).changes] == ["admin.port", "supervision.mailbox"]


@pytest.mark.feature("PA-216")
async def test_a_workflow_goes_to_another_site_while_it_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running(tmp_path, more=beta()) as agent:
        await agent.submit(workflow(events=40, command=WAITS.format(gate=gate), sites=["alpha"]))
        await until(agent, e.JobsStarted, "alpha-local", "running", 2)
        await until(agent, e.JobsSubmitted, "alpha-local", "pending", 2)
        order = ReviseWorkflow(workflow="plain", revision=Revision(sites=["beta"]), who="ann")
        answer: Revised = await agent.system.ref("reviser").ask(order)
        assert (answer.version, answer.changes, answer.withdrawn) == (2, ["sites: alpha -> beta"], 2)
        async with asyncio.timeout(60):
            await until(agent, e.JobsStarted, "beta-local", "running", 2)
        assert (await jobs_at(agent))["alpha-local", "running"] == 2, "what runs stays"
        gate.touch()
        await agent.fact(e.WorkflowsCompleted).reached()
        query = sa.select(schema.attempt.c.site, schema.attempt.c.outcome)
        found = Counter(tuple(row) for row in await agent.world.store.read(lambda c: c.execute(query).all()))
        assert (found["alpha", "killed"], found["alpha", "success"], found["beta", "success"]) == (2, 3, 3), (
            "merges too"
        )
        assert not any(outcome == "failed" for _, outcome in found), "no retry is burnt"
        broken = await agent.world.store.read(
            lambda c: laws.check(c, now=agent.world.clock.time(), limits=laws.Limits())
        )
        assert broken == []


MANAGER = """
[[prodmgr]]
name = "pm"
url = "http://127.0.0.1:1"
token_env = "HOME"
low = 7
"""


async def test_a_prodmgr_is_asked_as_the_new_settings_say(tmp_path: Path) -> None:
    async with running(tmp_path, more=MANAGER) as agent:
        before = agent.world.managers["pm"]
        change(agent, "low = 7", "low = 9")
        assert lines(await reload(agent)) == [("prodmgr[0].low", "7", "9", False)]
        actor = agent.system.instance("allocation.pm")
        assert actor is not None
        assert (actor.settings.low, actor.manager) == (9, agent.world.managers["pm"])
        assert agent.world.managers["pm"] is not before
        change(agent, 'name = "pm"', 'name = "other"')
        answer = await reload(agent)
        assert [(one.key, one.restart) for one in answer.changes if one.key.endswith("name")] == [
            ("prodmgr[0].name", True), ("prodmgr[1].name", False),
        ], "one comes at once, one goes with a restart"  # fmt: skip
        assert answer.failed == []
        assert list(agent.world.managers) == ["pm", "other"]
        newcomer = agent.system.instance("allocation.other")
        assert newcomer is not None
        assert newcomer.manager is agent.world.managers["other"]
        await reload(agent)
        assert agent.system.instance("allocation.other") is newcomer, "a look changes nothing"


async def test_a_feed_is_switched_on_and_off(tmp_path: Path) -> None:
    told = {"updated": 0.0, "sites": {"alpha": {"drain": True}}}
    async with running(tmp_path) as agent:
        (tmp_path / "feed.json").write_text(msgspec.json.encode({**told, "updated": agent.world.clock.time()}).decode())
        path = tmp_path / "agent.toml"
        without = path.read_text()
        path.write_text(without + '[feed]\nfile = "feed.json"\npoll_s = 0.2\n')
        found = await reload(agent)
        assert (found.failed, [one.restart for one in found.changes]) == ([], [False, False])
        await agent.system.ref("feed").ask(Wake())
        (mode,) = await agent.world.store.read(controls.load)
        assert (mode.subject, mode.value, mode.author) == ("alpha", "drain", "feed")
        await agent.world.store.write(lambda tx: alerts.raise_alert(tx, "warning", "feed-stale", "feed", "old"))
        path.write_text(without)
        assert (await reload(agent)).failed == []
        assert "feed" not in agent.system.names()
        assert await agent.world.store.read(controls.load) == [], "it has no word left"
        assert await agent.world.store.read(alerts.open_alerts) == []
        path.write_text(without + '[feed]\nfile = "feed.json"\n')
        assert (await reload(agent)).failed == []
        assert "feed" in agent.system.names()


FAR = """
[hosts.far]
address = "127.0.0.1"
port = 1
[sites.far.storage]
kind = "sftp"
host = "far"
root = "/far"
"""


async def test_a_host_that_changes_is_reached_anew_by_all_who_go_over_it(tmp_path: Path) -> None:
    async with running(tmp_path, more=FAR) as agent:
        world = agent.world
        channel, element, transfer = world.hosts.ssh("far"), world.storages["far"], agent.system.instance("transfer")
        other = world.storages["alpha"]
        change(agent, "port = 1\n", "port = 2\n")
        answer = await reload(agent)
        assert (lines(answer), answer.failed) == ([("hosts.far.port", "1", "2", False)], [])
        assert world.hosts.ssh("far") is not channel
        assert world.storages["far"] is not element
        assert agent.system.instance("transfer") is not transfer
        assert world.storages["alpha"] is other, "nobody else is touched"
        assert "Port=2" in " ".join(world.hosts.openssh("far"))
        assert lines(await reload(agent)) == []

"""Who may be given jobs now: gathers what is known of every target and lets the domain judge (PA-206 to PA-218)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from config.settings import Settings
from config.site_settings import Site, Target
from domain.breaker import Breaker, BreakerState, allowance, state_of
from domain.controls import Control, Kind, Mode, Scope, about
from domain.feed import shares
from domain.job import AT_TARGET, JobState, JobType, rank
from domain.matching import Candidate, Place
from domain.placing import Held, Limits, Sight, judge
from domain.pressure import Backlog
from domain.score import Standing, cut_off, score
from domain.siting import demand
from domain.spread import Spread
from storage import breakers, controls, counters, heads, leaving, offers, overrides, schema, thresholds
from storage import spread as spreads
from storage.offers import Offer
from storage.overrides import Override
from storage.thresholds import Grown
from storage.workflows import Workflow

alert, attempt, job, tally = schema.alert, schema.attempt, schema.job, schema.tally

PRESSURE = "back-pressure"
BLIND = "slots-unknown"
"""Code of the alert of a target that has not said for long how its jobs are: what is free there counts as nothing (PA-217)."""
STOPPED = {BLIND: "target-silent", "bad-nodes": "bad-nodes", "restore": "restoring"}
"""Open alerts that say that nothing is submitted to the target that they are about, with the code of the wait."""
LATE_S = 6 * 3600.0
"""What counts as of late in the score of a target."""
_WAITING = (JobState.RELEASED, JobState.SUBMITTING, JobState.PENDING)
_TYPES = {str(kind): kind for kind in JobType}


Sums = Mapping[tuple[str, str], Mapping[str, float]]


class Load(NamedTuple):
    """What one target holds, by type; cores and MB of all."""

    held: Mapping[JobType, Held]
    states: Mapping[tuple[JobType, str], int]
    cores: int
    memory_mb: int


class Picture(NamedTuple):
    """Every target as the queue sees it: settings with the limits in force, limits that operators set, grown thresholds and
    loads by name, what was said, breakers and records, the sites that workflows use (None: that matters to nobody): all at one
    instant."""

    places: list[Place]
    settings: Settings
    overrides: Sequence[Override]
    controls: list[Control]
    limits: Mapping[str, Limits]
    grown: Mapping[str, Mapping[JobType, Grown]]
    loads: Mapping[str, Load]
    breakers: Mapping[breakers.Place, Breaker]
    record: Sums
    offers: Mapping[str, Offer]
    used: Mapping[int, frozenset[str]] | None
    now: float

    def spread(self, flow: Workflow) -> Spread | None:
        """Return where a workflow is, as far as that decides anything."""
        if self.used is None:
            return None
        most = flow.spec.max_sites
        return Spread(0 if most is None else flow.id, self.used.get(flow.id, frozenset()), most)

    @property
    def opens_at(self) -> float | None:
        """When the next open breaker lets probes through (UTC epoch seconds)."""
        times = [each.until for each in self.breakers.values() if each.until is not None and each.until > self.now]
        return min(times, default=None)


NO_LOAD = Load({}, {}, 0, 0)


class Record(NamedTuple):
    """What attempts at each (site, target) came to: in the window of [quality], and of late."""

    days: Sums
    late: Sums


def record(connection: sa.Connection, settings: Settings, now: float) -> Record:
    """Return how attempts ended until now; good for a while, since it changes slowly."""
    days = breakers.sums(connection, now - settings.quality.window_s)
    return Record(days, breakers.sums(connection, now - LATE_S) if days else {})


def survey(
    connection: sa.Connection,
    settings: Settings,
    known: Mapping[int, Workflow],
    now: float,
    record: Record,
    *,
    thrifty: bool = False,
) -> Picture:
    """Look at every target that is configured; `known` are the workflows by id. `thrifty`: cores and memory are added up only
    where they are limited."""
    picture = _picture(connection, settings, known, now, record, thrifty=thrifty)
    settings = picture.settings
    behind, stopped, gone = _behind(connection), _stopped(connection), leaving.names(connection)
    for site, place in settings.sites.items():
        poor = _poor(settings, site, picture.record)
        slots = _slots(picture, site, place)
        left = _site_probes(connection, picture.breakers, site, list(place.targets), now)
        for name, target in place.targets.items():
            probes = _probes(connection, picture.breakers, name, left, now)
            if probes is not None and left is not None:
                left -= probes
            sight = _sight(picture, site, name, now)
            cores = [count for count in (sight.limits.cores, slots.get(name)) if count is not None]
            sight = sight._replace(
                limits=sight.limits._replace(cores=min(cores, default=None)),
                releases=picture.offers[site].releases if site in picture.offers else None,
                off=_off(place.enabled, target.enabled, site, name),
                probes=probes,
                poor=poor,
                behind=behind.get("") or behind.get(name, ""),
                stopped=stopped.get(name, ""),
                score=score(_standing(picture.record.get((site, name)), record.late.get((site, name)), place.cost)),
                leaving=name in gone,
                groups=frozenset(target.groups or place.groups),
                fillers=target.fillers if target.groups else place.fillers,
            )
            picture.places.append(judge(sight, picture.controls))
    return picture


def _picture(
    connection: sa.Connection,
    settings: Settings,
    known: Mapping[int, Workflow],
    now: float,
    record: Record,
    *,
    thrifty: bool,
) -> Picture:
    """Return all that the places are judged by."""
    said = overrides.load(connection)
    settings = overrides.over(settings, said)
    grown, offered = thresholds.load(connection), offers.load(connection)
    targets = {name: target for site in settings.sites.values() for name, target in site.targets.items()}
    limited = {name for name, each in targets.items() if each.limits.cores or each.limits.memory_mb}
    limited |= {name for site in offered if site in settings.sites for name in settings.sites[site].targets}
    return Picture(
        places=[],
        settings=settings,
        overrides=said,
        controls=controls.load(connection, now),
        limits={name: limits(target, grown.get(name, {})) for name, target in targets.items()},
        grown=grown,
        loads=load(connection, known, sorted(limited) if thrifty else None),
        breakers=breakers.load(connection),
        record=record.days,
        offers=offered,
        used=spreads.matters(connection, settings, known),
        now=now,
    )


def _sight(picture: Picture, site: str, target: str, now: float) -> Sight:
    """Return what a target holds, and how its breakers stand."""
    holds = picture.loads.get(target, NO_LOAD)
    keys = ((Scope.SITE, site), (Scope.TARGET, target))
    nodes = picture.settings.sites[site].targets[target]
    until, evidence = _longest([picture.breakers[key] for key in keys if key in picture.breakers], now)
    return Sight(
        target=target,
        site=site,
        limits=picture.limits[target],
        held=holds.held,
        cores=holds.cores,
        memory_mb=holds.memory_mb,
        gpus=nodes.gpus,
        architectures=frozenset(nodes.architectures),
        open_s=until - now if until > now else 0.0,
        evidence=evidence,
    )


def _slots(picture: Picture, site: str, place: Site) -> dict[str, int]:
    """Return how many cores each enabled target of a site may hold by the word of the feed; nothing if it says nothing."""
    slots = picture.offers[site].slots if site in picture.offers else None
    if slots is None:
        return {}
    held = {name: picture.loads.get(name, NO_LOAD).cores for name, target in place.targets.items() if target.enabled}
    return shares(slots, held)


def limits(target: Target, grown: Mapping[JobType, Grown]) -> Limits:
    """Return what a target may hold: as configured, or more where its threshold has grown and still may."""
    given = target.limits
    base = {JobType.PROCESSING: given.processing, JobType.MERGE: given.merge}
    grown = grown if given.dynamic else {}
    return Limits(
        jobs={kind: max(count, int(grown[kind].value)) if kind in grown else count for kind, count in base.items()},
        pending={JobType.PROCESSING: given.processing_pending, JobType.MERGE: given.merge_pending},
        cores=given.cores,
        memory_mb=given.memory_mb,
    )


def load(
    connection: sa.Connection, known: Mapping[int, Workflow], counting: Iterable[str] | None = None
) -> dict[str, Load]:
    """Return what each target holds: released, submitting, pending, running (and, by state only, ended and unread).

    Cores and memory are added up for the targets `counting`, None = all.
    """
    rows = counters.sums(connection, counters.JOB, ("target", "type", "state"), _HELD)
    states: dict[str, Counter[tuple[JobType, str]]] = defaultdict(Counter)
    for target, kind, state, number, *_ in rows:
        states[target][_TYPES[kind], state] += int(number)
    cores: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    names = None if counting is None else list(counting)
    if names is None or names:
        where = (_HELD, tally.c.state != JobState.ENDED) + (() if names is None else (tally.c.target.in_(names),))
        for target, owner, number, *_ in counters.sums(connection, counters.JOB, ("target", "workflow_id"), *where):
            if owner in known:
                needs = known[owner].spec.resources
                cores[target] += int(number) * needs.cores
                memory[target] += int(number) * needs.memory_mb
    return {
        name: Load({kind: _held(found, kind) for kind in JobType}, found, cores[name], memory[name])
        for name, found in states.items()
    }


_HELD = tally.c.state.in_((JobState.RELEASED, *AT_TARGET, JobState.ENDED))


def _held(found: Mapping[tuple[JobType, str], int], kind: JobType) -> Held:
    waiting = sum(found.get((kind, state), 0) for state in _WAITING)
    return Held(waiting + found.get((kind, JobState.RUNNING), 0), waiting)


def _off(site_on: bool, target_on: bool, site: str, target: str) -> str:
    if not site_on:
        return f"{site} is disabled in the configuration"
    return "" if target_on else f"{target} is disabled in the configuration"


# ---------------------------------------------------------------- breakers
def _longest(opened: Iterable[Breaker], now: float) -> tuple[float, str]:
    """Return until when nothing goes there, and why."""
    shut = [(one.until, one.evidence) for one in opened if one.until is not None and one.until > now]
    return max(shut, default=(0.0, ""))


def _site_probes(
    connection: sa.Connection, learnt: Mapping[breakers.Place, Breaker], site: str, targets: list[str], now: float
) -> int | None:
    """Return how many probes all targets of a site together may have, None = its breaker is closed."""
    breaker = learnt.get((Scope.SITE, site), Breaker())
    if state_of(breaker, now) is not BreakerState.HALF_OPEN:
        return None
    return allowance(breaker, breakers.RULES, now, _under_way(connection, targets, breaker))


def _probes(
    connection: sa.Connection,
    learnt: Mapping[breakers.Place, Breaker],
    target: str,
    of_site: int | None,
    now: float,
) -> int | None:
    """Return how many probes a target may have, None = no breaker asks for any."""
    breaker = learnt.get((Scope.TARGET, target), Breaker())
    if state_of(breaker, now) is not BreakerState.HALF_OPEN:
        return of_site
    own = allowance(breaker, breakers.RULES, now, _under_way(connection, [target], breaker))
    return own if of_site is None or own is None else min(own, of_site)


def _under_way(connection: sa.Connection, targets: list[str], breaker: Breaker) -> int:
    """Return how many probes have not ended: attempts made since the breaker is half-open, and jobs released since."""
    begun = (attempt.c.live == 1, attempt.c.created_at >= breaker.until)
    attempts = sa.select(sa.func.count()).where(attempt.c.target.in_(targets), *begun)
    released = sa.select(sa.func.count()).where(job.c.target.in_(targets), job.c.state == JobState.RELEASED)
    return sum(int(connection.execute(query).scalar_one()) for query in (attempts, released))


# ---------------------------------------------------------------- record
def _poor(settings: Settings, site: str, record: Sums) -> str:
    """Return how poor the record of a site is, "" if it will do (PA-213)."""
    good, bad = (sum(int(sums[name]) for (at, _), sums in record.items() if at == site) for name in ("good", "bad"))
    rule = settings.quality
    if not cut_off(good, bad, below=rule.below, attempts=rule.attempts):
        return ""
    return f"{good} of {good + bad} attempts at {site} ended well in {rule.window_s / 86400:.3g} d, {rule.below:.0%} expected"


def _standing(days: Mapping[str, float] | None, late: Mapping[str, float] | None, cost: float) -> Standing:
    if days is None:
        return Standing(cost=cost)
    recent = late or {"good": 0.0, "bad": 0.0, "started": 0.0, "waited_s": 0.0}
    begun = recent if recent["started"] else days
    wait_s = begun["waited_s"] / begun["started"] if begun["started"] else None
    return Standing(int(days["good"]), int(days["bad"]), int(recent["good"]), int(recent["bad"]), wait_s, cost)


# ---------------------------------------------------------------- what else keeps jobs back
def _behind(connection: sa.Connection) -> dict[str, str]:
    """Return which stage is behind, by the target that it concerns ("" = all): the queue keeps an alert of each."""
    query = sa.select(alert.c.subject, alert.c.text).where(alert.c.code == PRESSURE, alert.c.closed_at.is_(None))
    return {row.subject.partition(" ")[2]: row.text for row in connection.execute(query)}


def _stopped(connection: sa.Connection) -> dict[str, str]:
    """Return why nothing is submitted to targets, as "code: text", by target."""
    return {row.subject: f"{STOPPED[row.code]}: {row.text}" for row in connection.execute(_STOPPED)}


_SAID = sa.select(alert.c.code, alert.c.subject, alert.c.text).where(alert.c.closed_at.is_(None))
_STOPPED = _SAID.where(alert.c.code.in_(STOPPED)).order_by(alert.c.id.desc())


def backlogs(connection: sa.Connection, now: float) -> list[Backlog]:
    """Return what waits for the stages behind the batch systems: ended jobs by target, and failed jobs.

    Of failed ones only the number says something: a fact that cannot be handled is put aside, and must stop nobody else.
    """
    waiting = tally.c.state.in_((JobState.ENDED, JobState.FAILED))
    places = heads.standings(connection, counters.JOB, waiting)
    found: dict[tuple[str, str], list[heads.Standing]] = defaultdict(list)
    for standing in places:
        ended = standing.place.state == JobState.ENDED
        found["report" if ended else "error", standing.place.target if ended else ""].append(standing)
    return [
        Backlog(
            stage,
            sum(each.number for each in group),
            now - _oldest(connection, group) if stage == "report" else 0.0,
            target,
        )
        for (stage, target), group in found.items()
    ]


def _oldest(connection: sa.Connection, group: list[heads.Standing]) -> float:
    ids = heads.ids(connection, counters.JOB, [(each.place, 1) for each in group], 1)
    return float(connection.execute(sa.select(job.c.since).where(job.c.id.in_(ids))).scalar() or 0.0)


BRAKES = {"draining": "agent-drains", "disk": "disk-full", "store-damaged": "store-damaged"}
"""Open alerts that say that nothing is submitted at all, with the code of the wait."""


def braked(connection: sa.Connection) -> str:
    """Return why nothing is released anywhere, as "code: text"; "" if something may be."""
    loud = (alert.c.code != "disk") | (alert.c.level != "warning")
    query = sa.select(alert.c.code, alert.c.text).where(alert.c.code.in_(BRAKES), alert.c.closed_at.is_(None), loud)
    row = connection.execute(query.order_by(alert.c.id).limit(1)).one_or_none()
    return f"{BRAKES[row.code]}: {row.text}" if row else ""


def held_request(said: Iterable[Control], workflow: Workflow) -> Control | None:
    """Return the hold of the request that a workflow belongs to."""
    return about(said, Kind.HOLD, Scope.REQUEST, workflow.request) if workflow.request else None


def mode(said: Iterable[Control], site: str) -> tuple[Mode, float | None]:
    """Return the mode of a site, and since when it was said (UTC epoch seconds)."""
    row = about(said, Kind.MODE, Scope.SITE, site)
    return (Mode(row.value), row.since) if row else (Mode.ENABLED, None)


def candidate(picture: Picture, identity: int, kind: JobType, flow: Workflow, pinned: str | None) -> Candidate:
    """Return a queued job of a workflow as it is matched."""
    spec, asked = flow.spec, demand(flow.spec, kind)
    return Candidate(
        identity,
        kind,
        asked.allowed,
        pinned,
        spec.resources.cores,
        spec.resources.memory_mb,
        releases=frozenset(spec.releases if kind is JobType.PROCESSING else ()),
        rank=rank(kind, spec.priority),
        group=spec.group or "",
        spread=picture.spread(flow),
        denied=asked.denied,
        gpus=asked.gpus,
        architecture=asked.architecture,
    )

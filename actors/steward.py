"""Steward: carries out what operators say of who may run where, and ends it when its time is over.

Holds of jobs, workflows, requests, sites, targets and of the whole agent (PA-203), modes of sites (PA-211), trust in a site
in spite of its record (PA-213), limits of targets (PA-206), lists of sites for single jobs (PA-205). A site that is down gives
back what waits there: the attempts are closed as killed, so that the tracker asks for their end until it has come, and no retry is
burnt. Queued jobs that no site may run any more are parked; parked ones are looked at anew when a site for them is there.
Takes: SetControl, LiftControl, SetLimit, ListSites. Woken by: jobs that come back to the queue, new versions of workflows.
Writes: JobsPaused, JobsRequeued, JobsReadmitted, JobsCooledOff, JobsReturned, JobsWithdrawn, WorkflowsPaused, WorkflowsResumed,
alerts, the audit. Settings: queue.sweep_s, quality.window_s.
"""

from functools import partial
from typing import Any

from actors.brakes import Work
from actors.messages import (
    Changed,
    ControlsChanged,
    LiftControl,
    LimitSet,
    ListSites,
    Refused,
    SetControl,
    SetLimit,
    Wake,
)
from actors.stage import Stage
from actors.world import World
from config.faults import nearest
from config.settings import Settings
from domain import events as e
from domain.controls import AGENT, KINDS, Control, Kind, Mode, Scope, about, mode_of
from domain.feed import AUTHOR
from domain.job import OVER, JobState
from domain.siting import Lists
from storage import alerts, braking, breakers, controls, housing, job_lists, jobs, offers, overrides, workflows
from storage.engine import Connection
from storage.overrides import Override
from storage.store import Tx

BATCH = 1000
"""Most jobs taken back from a target in one transaction."""
PRUNE_S = 3600.0
HOMELESS = "no-site"
OVERDUE = "its time is over"
STOOD = "paused"
"""Value of the hold of a workflow that stood still already: the end of its time lets nothing go on."""


class Steward(Stage):
    emits = (
        e.JobsPaused,
        e.JobsRequeued,
        e.JobsReadmitted,
        e.JobsCooledOff,
        e.JobsReturned,
        e.JobsWithdrawn,
        e.WorkflowsPaused,
        e.WorkflowsResumed,
    )
    woken_by = (e.JobsRequeued, e.JobsReturned, e.WorkflowRevised)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._prune_at = 0.0
        self._told: str | None = None
        """Text of the open alert of jobs without a site; None: an earlier life may have left one."""

    @property
    def sweep_s(self) -> float:
        return self.world.settings.queue.sweep_s

    async def on_start(self) -> None:
        await super().on_start()
        if not self.world.settings.feed.source:
            await self._forget_feed()
        self._brake(await self._said())

    async def _forget_feed(self) -> None:
        """A feed that is no longer asked has no word left."""

        def words(connection: Connection) -> list[Control]:
            return [one for one in controls.load(connection) if one.author == AUTHOR and one.kind is Kind.MODE]

        def forget(tx: Tx) -> None:
            offers.forget(tx)
            for one in words(tx.connection):
                controls.lift(tx, one.scope, one.subject, one.kind)

        if await self.store.read(lambda c: bool(words(c) or offers.load(c))):
            await self.write(forget)

    # ------------------------------------------------------------ commands
    async def on_command(self, message: Any) -> Any:
        match message:
            case SetControl():
                return await self._set(message)
            case LiftControl():
                return await self._lift(message)
            case SetLimit():
                return await self._set_limit(message)
            case ListSites():
                return await self._list(message)
        return await super().on_command(message)

    async def _set(self, order: SetControl) -> ControlsChanged:
        scope, kind = Scope(order.scope), Kind(order.kind)
        if order.until is not None and order.until <= self.clock.time():
            raise Refused(f"until: got {order.until:.0f}, expected a time to come (UTC epoch seconds)")
        await self._check(scope, kind, order.subjects)
        if order.dry_run:
            return ControlsChanged(subjects=order.subjects)

        def put(tx: Tx) -> list[str]:
            said = Control(scope, "", kind, order.value, order.reason, order.who, tx.now, order.until)
            changed = _put(tx, said, order.subjects)
            text = f"{order.value or kind}: {order.reason}" + (f", until {order.until:.0f}" if order.until else "")
            alerts.record(tx, order.who, f"{kind} {scope}", ", ".join(order.subjects)[:2000], text)
            return changed

        return await self._changed(await self.write(put))

    async def _lift(self, order: LiftControl) -> ControlsChanged:
        scope, kind = Scope(order.scope), Kind(order.kind)
        if order.dry_run:
            return ControlsChanged(subjects=await self.store.read(lambda c: _present(c, scope, kind, order.subjects)))

        def lift(tx: Tx) -> list[str]:
            reason = order.reason or f"resumed by {order.who}"
            changed = _lift(tx, scope, kind, order.subjects, reason, self.world.settings.errors.probes)
            alerts.record(tx, order.who, f"lift {kind} {scope}", ", ".join(order.subjects)[:2000], f"{changed}"[:2000])
            return changed

        return await self._changed(await self.write(lift))

    async def _changed(self, subjects: list[str]) -> ControlsChanged:
        """Let it take effect now."""
        self._brake(await self._said())
        if subjects:
            self.actor_ref.tell(Wake(), unique=True)
            self.hint("queue")
        return ControlsChanged(subjects=subjects)

    async def _set_limit(self, order: SetLimit) -> LimitSet:
        await self._check(Scope.TARGET, Kind.HOLD, [order.target])
        known_limit = order.default and order.limit in overrides.LIMITS
        if not known_limit and (fault := overrides.fault(order.limit, order.value)):
            raise Refused(fault)
        known = await self.store.read(overrides.load)
        configured = _limit(self.world.settings, order)
        before = _limit(overrides.over(self.world.settings, known), order)
        answer = LimitSet(before=before, after=configured if order.default else order.value, configured=configured)
        if order.dry_run:
            return answer

        def put(tx: Tx) -> None:
            if order.default:
                overrides.take_back(tx, order.target, order.limit)
            else:
                new = Override(order.target, order.limit, order.value, order.who, order.reason, tx.now)
                overrides.put(tx, new)
            text = f"{_number(answer.before)} -> {_number(answer.after)} (configured {_number(configured)}): {order.reason}"
            alerts.record(tx, order.who, "limit", f"{order.target} {order.limit}", text)

        await self.write(put)
        for stage in ("queue", "creator"):
            self.hint(stage)
        return answer

    async def _list(self, order: ListSites) -> Changed:
        """Say where single jobs may run from now on; those that have ended are left alone."""
        await self._check(Scope.SITE, Kind.HOLD, [*order.sites, *order.deny_sites])
        await self._check(Scope.JOB, Kind.HOLD, [str(identity) for identity in order.jobs])
        found = await self.store.read(lambda c: jobs.load(c, order.jobs))
        ids = [job.id for job in found if job.state not in OVER]
        own = Lists(frozenset(order.sites), frozenset(order.deny_sites))

        def put(tx: Tx) -> None:
            job_lists.put(tx, ids, own, order.who, order.reason)
            alerts.record(tx, order.who, "restrict", f"jobs {ids}"[:2000], f"{own.words}: {order.reason}")

        if ids and not order.dry_run:
            await self.write(put)
            self.actor_ref.tell(Wake(), unique=True)
            self.hint("queue")
        return Changed(ids=ids)

    async def _check(self, scope: Scope, kind: Kind, subjects: list[str]) -> None:
        """Raise Refused for what is not there, with the nearest name."""
        if scope not in KINDS[kind]:
            raise Refused(f"{kind} of {scope}: expected one of {', '.join(KINDS[kind])}")
        known = await self.store.read(lambda c: self._known(c, scope, subjects))
        for subject in subjects:
            if subject not in known:
                near = nearest(subject, known)
                raise Refused(f"there is no {scope} {subject!r}" + (f"; did you mean {near!r}?" if near else ""))

    def _known(self, connection: Connection, scope: Scope, subjects: list[str]) -> list[str]:
        match scope:
            case Scope.AGENT:
                return [AGENT]
            case Scope.SITE:
                return list(self.world.settings.sites)
            case Scope.TARGET:
                return list(self.world.targets())
            case Scope.JOB:
                ids = [int(subject) for subject in subjects if subject.isdigit()]
                return [str(job.id) for job in jobs.load(connection, ids)]
        flows = workflows.load(connection).values()
        return [flow.request if scope is Scope.REQUEST else flow.name for flow in flows]

    # ------------------------------------------------------------ what follows
    async def work(self) -> bool:
        await self._expire()
        said = await self._said()
        self._brake(said)
        more = await self._withdraw(said)
        if await self.store.read(controls.held_jobs):
            await self.write(controls.catch)
        more = await self._obey_lists() or more
        more = await self._house() or more
        if self.clock.monotonic() >= self._prune_at:
            self._prune_at = self.clock.monotonic() + PRUNE_S
            before = self.clock.time() - self.world.settings.quality.window_s
            for prune in (partial(breakers.prune, before=before), controls.prune, job_lists.prune):
                await self.write(prune)
        return more

    async def _expire(self) -> None:
        """Take back what was said for a time that is over; look again when the next one ends."""
        over = await self.store.read(lambda c: controls.over(c, self.clock.time()))

        def end(tx: Tx) -> None:
            for old in over:
                _lift(tx, old.scope, old.kind, [old.subject], OVERDUE, self.world.settings.errors.probes, over=True)
                alerts.record(tx, self.name, f"lift {old.kind} {old.scope}", old.subject, OVERDUE)

        if over:
            await self.write(end)
            await self._changed([old.subject for old in over])
        ends = await self.store.read(controls.next_end)
        if ends is not None:
            self.after(max(0.0, ends - self.clock.time()), Wake(), key="end")

    async def _said(self) -> list[Control]:
        return await self.store.read(lambda c: controls.load(c, self.clock.time()))

    def _brake(self, said: list[Control]) -> None:
        """Keep released jobs from being submitted where that is held or down; all others may be."""
        self.world.brakes.free(self.name)
        if hold := about(said, Kind.HOLD, Scope.AGENT, AGENT):
            self.world.brakes.hold(self.name, f"the agent is held ({hold.words})", Work.SUBMISSION)
        for name, (site, _) in self.world.targets().items():
            if reason := stopped(said, site, name):
                self.world.brakes.hold(self.name, reason, Work.SUBMISSION, target=name)

    async def _withdraw(self, said: list[Control]) -> bool:
        """Take back what waits at the targets of sites that are down; what is only released goes back wherever it may not be
        submitted."""
        more = False
        for name, (site, _) in self.world.targets().items():
            reason = stopped(said, site, name)
            if not reason:
                continue
            down = mode_of(said, site)[0] is Mode.DOWN
            states = (JobState.RELEASED, JobState.PENDING) if down else (JobState.RELEASED,)
            more = await self._take_back(name, states, reason) or more
        return more

    async def _take_back(self, target: str, states: tuple[JobState, ...], reason: str) -> bool:
        """Take the first jobs in these states back; True = there may be more."""
        found = [job.id for job in await self.store.read(lambda c: jobs.at_target(c, target, *states, limit=BATCH))]
        if found:
            await self.write(lambda tx: jobs.withdraw(tx, found, reason))
            self.log.info("%d jobs came back from %s: %s", len(found), target, reason)
        return len(found) == BATCH

    async def _obey_lists(self) -> bool:
        """Take back jobs that wait where their own lists do not allow them; True = there are more."""
        if found := await self.store.read(job_lists.misplaced):
            await self.write(lambda tx: jobs.withdraw(tx, found[:BATCH], "its own lists of sites"))
        return len(found) > BATCH

    async def _house(self) -> bool:
        """Park queued jobs that no site may run any more, let those be looked at anew for which one is there now, tell of those
        that go on waiting; True = there may be more."""
        settings = self.world.settings
        known = await self.store.read(workflows.load)
        stranded = await self.store.read(lambda c: housing.stranded(c, settings, known, BATCH))
        for reason, ids in stranded.items():
            await self.write(partial(jobs.pause, ids=ids, reason=f"{housing.NO_SITE}{reason}"))
        back, left = await self.store.read(lambda c: housing.rehoused(c, settings, known, BATCH))
        names = ", ".join(sorted(known[owner].name for owner in left))
        text = f"{left.total()} jobs of {names} wait for a site with a batch target" if left else ""
        more = any(len(ids) >= BATCH for ids in (back, *stranded.values()))
        if not back and text == self._told:
            return more

        def tell(tx: Tx) -> None:
            controls.readmit(tx, back, "a site for them is there now")
            if text:
                alerts.raise_alert(tx, "warning", HOMELESS, "jobs", text)
            else:
                alerts.close_alert(tx, HOMELESS, "jobs")

        await self.write(tell)
        self._told = text
        return more


def _limit(settings: Settings, order: SetLimit) -> int | None:
    targets = {name: target for site in settings.sites.values() for name, target in site.targets.items()}
    found: int | None = getattr(targets[order.target].limits, order.limit)
    return found


def _number(limit: int | None) -> str:
    return "any" if limit is None else str(limit)


def stopped(said: list[Control], site: str, target: str) -> str:
    """Return why nothing at all is submitted to a target by an operator's word, "" if it is."""
    for scope, name in ((Scope.SITE, site), (Scope.TARGET, target)):
        if hold := about(said, Kind.HOLD, scope, name):
            return f"{scope} {name} is held ({hold.words})"
    mode, words = mode_of(said, site)
    return f"{site} is in {mode} ({words})" if mode in (Mode.DOWN, Mode.DRAIN) else ""


def _put(tx: Tx, said: Control, subjects: list[str]) -> list[str]:
    """Say the same of each subject; return those of which it is news."""
    if said.scope is Scope.JOB:
        ids = [int(subject) for subject in subjects]
        return [str(identity) for identity in controls.hold_jobs(tx, ids, said.reason, said.author, said.until)]
    for subject in subjects:
        value = said.value
        if said.scope is Scope.WORKFLOW:
            before = about(controls.load(tx.connection), said.kind, said.scope, subject)
            paused = workflows.hold(tx, subject, hold=True, reason=said.reason or "held by an operator", dry_run=False)
            value = before.value if before else "" if paused else STOOD
        controls.put(tx, said._replace(subject=subject, value=value))
        if said.kind is Kind.TRUST:
            breakers.close(tx, Scope.SITE, subject)
    return subjects


def _lift(
    tx: Tx, scope: Scope, kind: Kind, subjects: list[str], reason: str, probes: int, *, over: bool = False
) -> list[str]:
    """Take it back of each subject; return those of which it was said. A workflow that was braked runs so many probes first; one
    that stood still before it was held for a time goes on by a person's word only."""
    if scope is Scope.JOB:
        return [str(identity) for identity in controls.resume_jobs(tx, [int(each) for each in subjects], reason)]
    changed = []
    for subject in subjects:
        said = about(controls.load(tx.connection), kind, scope, subject)
        there = controls.lift(tx, scope, subject, kind)
        if scope is Scope.WORKFLOW and not (over and said and said.value == STOOD):
            resumed = workflows.hold(tx, subject, hold=False, reason=reason, dry_run=False)
            braking.released(tx, resumed, probes)
            there = bool(resumed) or there
        if there:
            changed.append(subject)
    return changed


def _present(connection: Connection, scope: Scope, kind: Kind, subjects: list[str]) -> list[str]:
    if scope is Scope.JOB:
        return [str(identity) for identity in controls.held_jobs(connection, [int(each) for each in subjects])]
    said = {one.subject for one in controls.load(connection) if (one.scope, one.kind) == (scope, kind)}
    return [subject for subject in subjects if subject in said]

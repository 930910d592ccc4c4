"""Queue: admits jobs, wakes those whose back-off is over, and gives them to targets with free places.

Who may take what is judged anew each time from the rows: what operators said, breakers, records, limits (storage/sites.py).
It stops while a later stage is behind.
Woken by: new and requeued jobs, jobs that end or fail (a place is free), resumed and revised workflows, the steward.
Writes: JobsQueued, JobsPaused (no site), JobsRequeued, JobsReleased, JobsReturned; alerts of back-pressure, thresholds that
follow what a target swallows.
Settings: the [queue] and [quality] tables, the limits of the targets.
"""

from functools import partial
from typing import NamedTuple

from actors.brakes import Work
from actors.messages import Wake
from actors.stage import Stage
from actors.world import World
from domain import events as e
from domain.braking import BrakeRules
from domain.events import (
    JobsCooledOff,
    JobsCreated,
    JobsEnded,
    JobsKilled,
    JobsReadmitted,
    JobsRequeued,
    JobsReturned,
    JobsRevoked,
    JobsWithdrawn,
    WorkflowRevised,
    WorkflowsResumed,
)
from domain.job import JobType, rank
from domain.matching import Candidate, Choice, Place, match, narrowed, room_for, shunning
from domain.pressure import Backlog, presses, words
from domain.spec import WorkflowSpec
from domain.workflow import WorkflowState
from storage import (
    adjustments,
    alerts,
    braking,
    controls,
    counters,
    housing,
    job_lists,
    jobs,
    sites,
    thresholds,
    workflows,
)
from storage.braking import Braked
from storage.engine import Connection
from storage.heads import Standing
from storage.jobs import Queued
from storage.sites import PRESSURE, Picture, Record
from storage.store import Tx
from storage.workflows import Workflow

BATCH = 3000
"""Most jobs looked at in one go, some 25 ms of the loop: with thirty sites each still gets a hundred at once, and what follows
costs by the number of its parts."""


RECORD_S = 10.0
"""How long the sums over past attempts are good for a choice among targets, in seconds."""


class Open(NamedTuple):
    """Queued jobs of which some may go now: their queue rank, where they are counted, how many may go, and whether that is because
    their workflow runs probes."""

    rank: int
    standing: Standing
    most: int
    probing: bool


class Queue(Stage):
    emits = (e.JobsQueued, e.JobsPaused, e.JobsRequeued, e.JobsReleased, e.JobsReturned)
    woken_by = (
        JobsCreated,
        JobsReadmitted,
        JobsRequeued,
        JobsReturned,
        JobsWithdrawn,
        JobsEnded,
        JobsKilled,
        JobsRevoked,
        JobsCooledOff,
        WorkflowRevised,
        WorkflowsResumed,
    )

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._behind: set[str] | None = None
        """Subjects of the open alerts of back-pressure; None: an earlier life may have left some."""
        self._record: Record | None = None
        self._record_until = 0.0

    @property
    def sweep_s(self) -> float:
        return self.world.settings.queue.sweep_s

    async def work(self) -> bool:
        admitted = await self._admit()
        await self._wake()
        released = await self._release()
        await self.write(lambda tx: jobs.take_back(tx, self.world.settings.queue.lease_s))
        return admitted or released >= BATCH

    async def _admit(self) -> bool:
        housed, homeless = await self.store.read(self._fresh)
        if not (housed or homeless):
            return False

        def admit(tx: Tx) -> None:
            jobs.admit(tx, housed)
            for reason, ids in homeless.items():
                jobs.pause(tx, ids, f"{housing.NO_SITE}{reason}")

        await self.write(admit)
        return any(len(ids) == BATCH for ids in (housed, *homeless.values()))

    def _fresh(self, connection: Connection) -> tuple[list[int], dict[str, list[int]]]:
        known = workflows.load(connection)

        def unhoused(place: counters.Place) -> str:
            spec = known[place.workflow_id].spec
            return housing.unhoused(self.world.settings, spec, JobType(place.type), place.site or None)

        return jobs.fresh(connection, unhoused, BATCH)

    async def _wake(self) -> None:
        due = await self.store.read(jobs.next_wake)
        if due is None:
            return
        if due > self.clock.time():
            self.after(due - self.clock.time(), Wake(), key="back-off")
        else:
            await self.write(jobs.wake)

    # ------------------------------------------------------------ release
    async def _release(self) -> int:
        known, standings, braked = await self.store.read(lambda c: (workflows.load(c), jobs.queued(c), braking.load(c)))
        if standings or self._behind != set():
            await self._press()
        if not standings or self.world.brakes.held(Work.SUBMISSION):
            return 0
        now = self.clock.time()
        record = await self._past(now)
        picture = await self.store.read(
            lambda c: sites.survey(c, self.world.settings, known, now, record, thrifty=True)
        )
        if picture.opens_at is not None:
            self.after(picture.opens_at - now, Wake(), key="breaker")
        await self._adapt(picture, now)
        places = [place for place in picture.places if not self.world.brakes.held(Work.SUBMISSION, place.target)]
        open_to = _open_to(standings, known, places, picture, await self._probes(braked))
        chosen = await self._choose(open_to, known, places, picture) if open_to else {}
        by_target = {place.target: place for place in places}

        def release(tx: Tx) -> int | None:
            if _stands(workflows.load(tx.connection)) != _stands(known) or braking.load(tx.connection) != braked:
                return None  # somebody stopped or changed a workflow, or let one go on, since the look
            controls.catch(tx)
            return sum(
                len(jobs.release(tx, ids, by_target[choice.target].site, choice.target, _why(choice, by_target)))
                for choice, ids in chosen.items()
            )

        released = await self.write(release) if chosen else 0
        if released is None:
            self.actor_ref.tell(Wake(), unique=True)
        return released or 0

    async def _choose(
        self, open_to: list[Open], known: dict[int, Workflow], places: list[Place], picture: Picture
    ) -> dict[Choice, list[int]]:
        """Match the first queued jobs with the places. Those that keep away from where there is room, or may not go there, do not
        keep back others behind them: so many more are looked at."""
        own = await self.store.read(lambda c: {job.id: job.own for job in job_lists.queued(c)})
        more = len(own)
        while True:
            ranked = [(one.rank, one.standing, one.most + more * (not one.probing)) for one in open_to]
            head = await self.store.read(partial(jobs.queue_head, ranked=ranked, limit=BATCH + more))
            candidates = _candidates(picture, head, known)
            candidates = [narrowed(job, own[job.id]) if job.id in own else job for job in candidates]
            away = await self.store.read(
                partial(adjustments.avoiding, job_ids=[job.id for job in head], now=picture.now)
            )
            candidates = [shunning(job, away[job.id], places) if job.id in away else job for job in candidates]
            chosen = match(candidates, places)
            gone = {identity for ids in chosen.values() for identity in ids}
            shy = sum(1 for job in candidates if job.avoid and job.id not in gone)
            if shy <= more - len(own) or more > BATCH:
                return chosen
            more = len(own) + 2 * shy

    async def _probes(self, braked: dict[int, Braked]) -> dict[int, int]:
        """Return how many jobs may go of each workflow that was braked and runs probes first (PA-407)."""
        if not any(one.probes > 0 for one in braked.values()):
            return {}
        probes = BrakeRules(probes=self.world.settings.errors.probes)
        return await self.write(lambda tx: braking.probing(tx, probes))

    async def _past(self, now: float) -> Record:
        """Return how attempts at the targets ended, as of a moment ago."""
        if self._record is None or self.clock.monotonic() >= self._record_until:
            self._record = await self.store.read(lambda c: sites.record(c, self.world.settings, now))
            self._record_until = self.clock.monotonic() + RECORD_S
        return self._record

    async def _adapt(self, picture: Picture, now: float) -> None:
        """Let the thresholds of dynamic targets follow what they swallow; the next look goes by them."""
        states = {name: load.states for name, load in picture.loads.items()}
        new = thresholds.changes(picture.grown, picture.settings, states, now)
        if new:
            await self.write(lambda tx: thresholds.book(tx, new))
            self.actor_ref.tell(Wake(), unique=True)

    async def _press(self) -> None:
        """Tell which later stages are behind; the survey keeps jobs back as long as the alert is open."""
        settings, now = self.world.settings.queue, self.clock.time()
        backlogs = await self.store.read(lambda c: sites.backlogs(c, now))
        before = self._behind if self._behind is not None else await self._told()
        behind = {
            _subject(each): words(each)
            for each in backlogs
            if presses(each, items=settings.backlog, age_s=settings.backlog_s, before=_subject(each) in before)
        }

        def tell(tx: Tx) -> None:
            for subject in before - behind.keys():
                alerts.close_alert(tx, PRESSURE, subject)
            for subject in behind.keys() - before:
                alerts.raise_alert(tx, "warning", PRESSURE, subject, behind[subject])

        if before != behind.keys():
            await self.write(tell)
        self._behind = set(behind)
        if behind:
            self.after(settings.backlog_s / 2, Wake(), key="behind")

    async def _told(self) -> set[str]:
        return {alert.subject for alert in await self.store.read(alerts.open_alerts) if alert.code == PRESSURE}


def _stands(known: dict[int, Workflow]) -> dict[int, tuple[WorkflowState, WorkflowSpec]]:
    return {identity: (flow.state, flow.spec) for identity, flow in known.items()}


def _subject(backlog: Backlog) -> str:
    return f"{backlog.stage} {backlog.target}".strip()


def _open_to(
    standings: list[Standing],
    known: dict[int, Workflow],
    places: list[Place],
    picture: Picture,
    probes: dict[int, int],
) -> list[Open]:
    """Return of which queued jobs some may go now."""
    found = []
    for standing in standings:
        workflow, kind = known.get(standing.place.workflow_id), JobType(standing.place.type)
        if workflow is None or workflow.state is WorkflowState.PAUSED:
            continue
        if sites.held_request(picture.controls, workflow):
            continue
        room = room_for(sites.candidate(picture, 0, kind, workflow, standing.place.site or None), places)
        probing = kind is JobType.PROCESSING and workflow.id in probes
        most = min(room, probes[workflow.id]) if probing else room
        if most:
            found.append(Open(rank(kind, workflow.spec.priority), standing, most, probing))
    return found


def _candidates(picture: Picture, head: list[Queued], known: dict[int, Workflow]) -> list[Candidate]:
    """Return the jobs as they are matched; those of one workflow, type and pinned site differ in nothing."""
    kinds = {job[1:] for job in head}
    alike = {key: sites.candidate(picture, 0, key[1], known[key[0]], key[2]) for key in kinds}
    return [alike[job[1:]]._replace(id=job.id) for job in head]


def _why(choice: Choice, places: dict[str, Place]) -> str:
    """Say why the target was chosen: its score, and who came next."""
    text = f"score {places[choice.target].score:.3f}"
    if not choice.runner_up:
        return f"{text}, no other had room"
    return f"{text}; next was {choice.runner_up} with {places[choice.runner_up].score:.3f}"

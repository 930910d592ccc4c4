"""Why something does not move: gather what is known of it and let the domain explain (OPS-09)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import msgspec
import sqlalchemy as sa

from config.settings import Settings
from domain.allocation import AllocationState
from domain.events import decode
from domain.explain import (
    ARRIVED,
    FileSight,
    JobSight,
    TransferSight,
    Verdict,
    WorkflowSight,
    explain_file,
    explain_job,
    explain_transfer,
    explain_workflow,
)
from domain.explain_site import SiteSight, explain_site
from domain.file import FileKind, FileState
from domain.job import JobState, JobType
from domain.matching import narrowed, shunning, shut, wait_reason
from domain.obstacles import fact_parked
from domain.room import AWAY, FULL, SCRATCH
from domain.siting import Lists
from domain.transfer import TransferState
from storage import adjustments, counters, heads, job_lists, leaving, schema, sites, views, workflows
from storage.endings import endings
from storage.job_lists import Listed
from storage.subjects import number, parse
from storage.views import FileView, JobRow, TransferView
from storage.workflows import Workflow

allocation, job, attempt, file = schema.allocation, schema.job, schema.attempt, schema.file
transfer, alert, event, parked, tally = schema.transfer, schema.alert, schema.event, schema.parked, schema.tally

_SILENT = ("submission-silent", "status-silent")
"""Codes of the alerts that a target does not answer the submitter, or the tracker."""
_UNFINISHED = tuple(state for state in TransferState if state not in ARRIVED)
_IN_FLIGHT = (TransferState.MOVING, TransferState.LANDED)
_APART = (JobState.SUCCESS, JobState.CLEANED, JobState.KILLED, JobState.EXHAUSTED, JobState.QUEUED)
"""Job states that keep no workflow from its end, and the one whose jobs are told apart by the queue's word."""
_BLOCKED = tuple(state for state in JobState if state not in _APART)


class Explanation(Verdict, frozen=True, kw_only=True):
    """The answer: the subject, its state and since when, the blocker, and how many items each one below it holds.
    `target` is the batch target or the manager concerned."""

    subject: str
    state: str
    since: float
    target: str = ""
    groups: dict[str, int] = msgspec.field(default_factory=dict)


def why(connection: sa.Connection, subject: str, settings: Settings, now: float) -> Explanation:
    """Explain `job:17` or `17`, `workflow:NAME` or NAME, `request:NAME`, `file:LFN`, `file:ID` or an LFN,
    `transfer:ID`, `site:NAME`; raise Unknown for what is not there."""
    kind, name = parse(subject)
    look = _Look(connection, leaving.beside(connection, settings), now)
    if kind == "job":
        return look.job(number(kind, name))
    if kind == "file":
        return look.file(number(kind, name) if name.isdigit() else name)
    if kind == "transfer":
        return look.transfer(number(kind, name))
    if kind == "site":
        return look.site(name)
    return look.workflow(name, kind)


def paces(settings: Settings, target: str = "") -> dict[str, float]:
    """Return the longest time between two looks of each actor, in seconds."""
    polls = [
        one.poll_s for site in settings.sites.values() for name, one in site.targets.items() if target in ("", name)
    ]
    woken = settings.events.sweep_s
    return {
        "queue": settings.queue.sweep_s,
        "tracker": max(polls, default=woken),
        "report": settings.report.sweep_s,
        "merge": settings.merge.sweep_s,
        "catalogue": settings.catalogue.sweep_s,
        "transfer": settings.transfer.sweep_s,
        "cleanup": settings.cleanup.sweep_s,
        "allocation": max((manager.poll_s for manager in settings.prodmgr), default=woken),
    } | dict.fromkeys(("submitter", "error", "creator", "injector"), woken)


class _Look:
    """One question: the snapshot it is asked of, and the time."""

    def __init__(self, connection: sa.Connection, settings: Settings, now: float) -> None:
        self.connection = connection
        self.settings = settings
        self.now = now

    # ------------------------------------------------------------ jobs
    def job(self, identity: int) -> Explanation:
        row = views.one_job_row(self.connection, identity)
        verdict = explain_job(self._job_sight(row), self.now)
        found = self._answer(f"job:{identity}", row.state, row.since, self._parked(verdict, "job", identity))
        return msgspec.structs.replace(found, target=row.target or "")

    def _job_sight(self, row: JobRow) -> JobSight:
        owner = self._workflow(row.workflow)
        target = row.target or ""
        live = self.connection.execute(
            sa.select(attempt.c.batch_id, attempt.c.node).where(attempt.c.job_id == row.id, attempt.c.live == 1)
        ).one_or_none()
        queued = row.state == JobState.QUEUED
        cause = sa.select(attempt.c.cause).where(attempt.c.job_id == row.id).order_by(attempt.c.number.desc()).limit(1)
        return JobSight(
            state=JobState(row.state),
            type=JobType(row.type),
            reason=row.reason
            or ("" if row.state == JobState.PENDING else self.connection.execute(cause).scalar())
            or "",
            since=row.since,
            wake_at=row.wake_at,
            target=target,
            batch_id=live.batch_id if live else "",
            node=live.node if live else "",
            workflow=owner.name,
            workflow_state=owner.state,
            queue=self._queue_word(owner, JobType(row.type), row.pinned, row.id) if queued else "",
            silent=self._silent(target),
            wall_s=owner.spec.resources.wall_s,
            output=self._output(row),
            ending=", ".join(one.target for one in endings(self.connection, jobs=[row.id])),
            next_s=paces(self.settings, target),
        )

    def _output(self, row: JobRow) -> Verdict | None:
        """Return what the small output of an accounted job waits for."""
        if row.state != JobState.ACCOUNTED:
            return None
        small = sa.select(file.c.id).where(file.c.job_id == row.id, file.c.kind == FileKind.UNMERGED)
        identity = self.connection.execute(small.where(file.c.state != FileState.INVALID)).scalars().first()
        return None if identity is None else self.file(identity)

    def _silent(self, target: str) -> str:
        where = (alert.c.code.in_(_SILENT), alert.c.subject == target, alert.c.closed_at.is_(None))
        return "; ".join(self.connection.execute(sa.select(alert.c.text).where(*where).order_by(alert.c.id)).scalars())

    # ------------------------------------------------------------ files
    def file(self, name: int | str) -> Explanation:
        row = views.one_file(self.connection, name)
        merge = (
            explain_job(self._job_sight(views.one_job_row(self.connection, row.merge_job)), self.now)
            if (row.merge_job is not None and row.state == FileState.UNDERMERGE)
            else None
        )
        successor = None if row.merged_into is None else views.one_file(self.connection, row.merged_into)
        moving = [task for task in (successor or row).transfers if task.state not in ARRIVED]
        sight = FileSight(
            state=FileState(row.state),
            reason=row.reason,
            site=row.site,
            job=row.job,
            merge_job=row.merge_job,
            merge=merge,
            successor="" if successor is None else successor.state,
            transfer=explain_transfer(self._transfer_sight(moving[0]), self.now) if moving else None,
            next_s=paces(self.settings),
            **self._gathered(row),
        )
        verdict = self._parked(explain_file(sight, self.now), "file", row.id)
        return self._answer(f"file:{row.lfn}", row.state, row.since, verdict)

    def _gathered(self, row: FileView) -> dict[str, Any]:
        """Return how much waits for a merge beside an unmerged file."""
        if row.state != FileState.UNMERGED:
            return {}
        owner = self._workflow(row.workflow)
        where = (file.c.state == FileState.UNMERGED, file.c.workflow_id == owner.id, file.c.site == row.site)
        first = sa.select(file.c.created_at).where(*where).order_by(file.c.id).limit(1)
        oldest = self.connection.execute(first).scalar_one()
        here = (tally.c.state == FileState.UNMERGED, tally.c.workflow_id == owner.id, tally.c.site == row.site)
        size = sum(part.bytes for part in counters.sums(self.connection, counters.FILE, ("state",), *here))
        merge = owner.spec.merge
        return {
            "waiting_bytes": int(size),
            "wanted_bytes": int(merge.min_fraction * merge.max_bytes),
            "deadline": oldest + merge.max_wait_s,
        }

    # ------------------------------------------------------------ transfers
    def transfer(self, identity: int) -> Explanation:
        task = views.one_transfer(self.connection, identity)
        verdict = explain_transfer(self._transfer_sight(task), self.now)
        return self._answer(f"transfer:{identity}", task.state, task.since, self._parked(verdict, "transfer", identity))

    def _transfer_sight(self, task: TransferView) -> TransferSight:
        busy = (transfer.c.destination == task.destination, transfer.c.state.in_(_IN_FLIGHT))
        return TransferSight(
            state=TransferState(task.state),
            reason=task.reason,
            since=task.since,
            wake_at=task.wake_at,
            source=task.source,
            destination=task.destination,
            attempt=task.attempt,
            active=int(self.connection.execute(sa.select(sa.func.count()).where(*busy)).scalar_one()),
            most=self.settings.transfer.max_active,
            shut=self._shut(task.destination),
            deadline_s=self.settings.transfer.deadline_s,
            next_s=paces(self.settings),
        )

    def _shut(self, destination: str) -> tuple[str, str] | None:
        """Return why nothing goes to a destination; what goes through the agent's own disk waits for that, too."""
        there = (
            alert.c.code.in_((FULL, AWAY)),
            alert.c.subject.in_((destination, SCRATCH)),
            alert.c.closed_at.is_(None),
        )
        query = sa.select(alert.c.code, alert.c.text).where(*there).order_by(alert.c.subject == SCRATCH)
        row = self.connection.execute(query.limit(1)).one_or_none()
        return None if row is None else (row.code, row.text)

    # ------------------------------------------------------------ workflows
    def workflow(self, name: str, kind: str) -> Explanation:
        owner = self._workflow(name, kind)
        view = views.status(self.connection, self.now, owner.name)[0]
        groups, verdicts = self._groups(owner)
        unreported = (allocation.c.workflow_id == owner.id, allocation.c.state == AllocationState.DONE)
        uncut = sa.func.sum(allocation.c.events - allocation.c.cut_events)
        left = sa.select(uncut).where(
            allocation.c.workflow_id == owner.id, allocation.c.state == AllocationState.ACTIVE
        )
        sight = WorkflowSight(
            state=owner.state,
            name=owner.name,
            reason=owner.reason,
            manager=owner.manager,
            intake_open=owner.intake_open,
            requested=view.requested,
            allocated=view.allocated,
            uncut=int(self.connection.execute(left).scalar() or 0),
            unreported=int(self.connection.execute(sa.select(sa.func.count()).where(*unreported)).scalar_one()),
            groups=groups,
            verdicts=verdicts,
            next_s=paces(self.settings),
        )
        verdict = self._parked(explain_workflow(sight, self.now), "workflow", owner.id)
        exhausted = {"exhausted": view.jobs[JobState.EXHAUSTED]} if JobState.EXHAUSTED in view.jobs else {}
        ended = sum(one.attempts for one in endings(self.connection, workflow_name=owner.name))
        apart = exhausted | ({"ending": ended} if ended else {})
        found = self._answer(f"workflow:{owner.name}", owner.state, owner.since, verdict, {**groups, **apart})
        return msgspec.structs.replace(found, target=owner.manager)

    def _groups(self, owner: Workflow) -> tuple[dict[str, int], dict[str, Verdict]]:
        """Return how many items each blocker holds, and one verdict of each."""
        groups: Counter[str] = Counter()
        verdicts: dict[str, Verdict] = {}
        for verdict, count in (*self._queued(owner), *self._jobs(owner), *self._files(owner), *self._transfers(owner)):
            groups[verdict.code] += count
            verdicts.setdefault(verdict.code, verdict)
        return dict(groups), verdicts

    def _queued(self, owner: Workflow) -> Iterator[tuple[Verdict, int]]:
        apart = Counter((str(one.type), one.pinned) for one in self.own if one.workflow_id == owner.id)
        for place, count in self._standings(owner, (JobState.QUEUED,)):
            word = self._queue_word(owner, JobType(place.type), place.site or None)
            rest = count - apart[place.type, place.site or None]
            if rest > 0:
                yield self._sample(owner, JobState.QUEUED, place.type, queue=word), rest
        alike = Counter((*one[2:4], one.own) for one in self.own if one.workflow_id == owner.id)
        for (kind, pinned, own), count in alike.items():
            word = self._queue_word(owner, kind, pinned, own=own)
            yield self._sample(owner, JobState.QUEUED, kind, queue=word), count

    def _queue_word(
        self, owner: Workflow, kind: JobType, pinned: str | None, identity: int = 0, own: Lists | None = None
    ) -> str:
        """Return why the queue does not release a job, or such jobs of a workflow: as the queue itself sees it."""
        if braked := sites.braked(self.connection):
            return braked
        if hold := sites.held_request(self.picture.controls, owner):
            return f"held: request {owner.request} is held ({hold.words})"
        places, one = self.picture.places, sites.candidate(self.picture, identity, kind, owner, pinned)
        own = own or next((job.own for job in self.own if job.id == identity), None)
        one = narrowed(one, own) if own else one
        away = adjustments.avoiding(self.connection, [identity], self.now) if identity else {}
        return wait_reason(shunning(one, away[identity], places) if away else one, places)

    @cached_property
    def own(self) -> list[Listed]:
        """Queued jobs that have lists of sites of their own."""
        return job_lists.queued(self.connection)

    @cached_property
    def picture(self) -> sites.Picture:
        """Every target as the queue sees it."""
        record = sites.record(self.connection, self.settings, self.now)
        return sites.survey(self.connection, self.settings, workflows.load(self.connection), self.now, record)

    def _jobs(self, owner: Workflow) -> Iterator[tuple[Verdict, int]]:
        for place, count in self._standings(owner, _BLOCKED):
            if place.state == JobState.ACCOUNTED and place.type == JobType.PROCESSING:
                continue  # its file waits, and is counted there
            known = {"target": place.target, "silent": self._silent(place.target)}
            if place.state == JobState.PENDING:
                for reason, number in heads.reasons(self.connection, place):
                    yield self._sample(owner, place.state, place.type, reason=reason, **known), number
                continue
            (identity,) = heads.ids(self.connection, counters.JOB, [(place, 1)], 1)
            columns = (job.c.reason, job.c.wake_at, job.c.since)
            oldest = self.connection.execute(sa.select(*columns).where(job.c.id == identity)).one()
            yield self._sample(owner, place.state, place.type, **known, **oldest._asdict()), count

    def _standings(self, owner: Workflow, states: Sequence[JobState]) -> list[heads.Standing]:
        """Return where jobs of a workflow stand."""
        return heads.standings(
            self.connection, counters.JOB, tally.c.workflow_id == owner.id, tally.c.state.in_(states)
        )

    def _sample(self, owner: Workflow, state: str, kind: str, **more: Any) -> Verdict:
        sight = JobSight(
            state=JobState(state),
            type=JobType(kind),
            workflow=owner.name,
            workflow_state=owner.state,
            next_s=paces(self.settings, more.get("target", "")),
            **more,
        )
        return explain_job(sight, self.now)

    def _files(self, owner: Workflow) -> Iterator[tuple[Verdict, int]]:
        waiting = tally.c.state.in_((FileState.UNMERGED, FileState.REGISTERED))
        for place, count in heads.standings(self.connection, counters.FILE, tally.c.workflow_id == owner.id, waiting):
            (identity,) = heads.ids(self.connection, counters.FILE, [(place, 1)], 1)
            yield self.file(identity), count

    def _transfers(self, owner: Workflow) -> Iterator[tuple[Verdict, int]]:
        unfinished = tally.c.state.in_(_UNFINISHED)
        for place, count in heads.standings(
            self.connection, counters.TRANSFER, tally.c.workflow_id == owner.id, unfinished
        ):
            at = (transfer.c.state == place.state, transfer.c.destination == place.site)
            first = sa.select(transfer.c.id).join(file).where(*at, file.c.workflow_id == owner.id)
            identity = self.connection.execute(first.order_by(transfer.c.id).limit(1)).scalar_one()
            yield explain_transfer(self._transfer_sight(views.one_transfer(self.connection, identity)), self.now), count

    def _workflow(self, name: str, kind: str = "workflow") -> Workflow:
        known = workflows.load(self.connection).values()
        names = {item.request if kind == "request" else item.name: item for item in known}
        if name not in names:
            raise views.unknown(kind, name, [word for word in names if word])
        return names[name]

    # ------------------------------------------------------------ sites
    def site(self, name: str) -> Explanation:
        if name not in self.settings.sites:
            raise views.unknown("site", name, list(self.settings.sites))
        settings = self.settings.sites[name]
        mine = [place for place in self.picture.places if place.site == name]
        sight = SiteSight(
            name=name,
            targets=list(settings.targets),
            free={place.target: sum(max(count, 0) for count in place.free.values()) for place in mine},
            closed={place.target: text for place in mine if (text := shut(place))},
            silent={target: text for target in settings.targets if (text := self._silent(target))},
            next_s=paces(self.settings),
        )
        mode, since = sites.mode(self.picture.controls, name)
        state = str(mode) if settings.enabled else "disabled"
        return self._answer(f"site:{name}", state, since or self.now, explain_site(sight, self.now))

    # ------------------------------------------------------------ all
    def _parked(self, verdict: Verdict, entity: str, item: int) -> Verdict:
        """Return the verdict, behind a fact about the item on which the owner of the next step failed."""
        query = (
            sa.select(parked.c.subscriber, parked.c.next_at, parked.c.error, event.c.type, event.c.body)
            .join(event, event.c.id == parked.c.event_id)
            .where(event.c.entity == entity, event.c.low <= item, event.c.high >= item)
        )
        for subscriber, next_at, error, kind, body in self.connection.execute(query.order_by(parked.c.id.desc())):
            if subscriber.partition(".")[0] == verdict.owner and item in decode(kind, body).ids:
                return fact_parked(verdict, subscriber, kind, error.strip().splitlines()[-1], next_at)
        return verdict

    def _answer(
        self, subject: str, state: str, since: float, verdict: Verdict, groups: dict[str, int] | None = None
    ) -> Explanation:
        known = msgspec.structs.asdict(verdict)
        fields = {name: known[name] for name in Verdict.__struct_fields__}
        return Explanation(**fields, subject=subject, state=state, since=since, groups=groups or {})

"""Jobs: units of work over disjoint event ranges."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.allocation import ALLOCATION_TABLE, AllocationState
from domain.job import AT_TARGET, JOB_TABLE, UNFINISHED, JobState, JobType, rank
from domain.names import unit_id
from domain.ranges import Range
from domain.spec import WorkflowSpec
from storage import bulk, counters, heads, schema
from storage.allocations import Allocation, credit
from storage.counters import Place
from storage.engine import among
from storage.heads import Standing
from storage.moves import CHUNK, move
from storage.transaction import Tx

job, allocation, workflow, attempt, tally = (
    schema.job, schema.allocation, schema.workflow, schema.attempt, schema.tally,
)  # fmt: skip


KILLABLE = UNFINISHED
AHEAD = (JobState.NEW, JobState.QUEUED, JobState.COOLOFF)
"""Cut and not yet released; a held one is not counted, or it would stop the intake."""


class Job(NamedTuple):
    """A job as the actors see it."""

    id: int
    workflow_id: int
    allocation_id: int | None
    type: JobType
    state: JobState
    range: Range
    pinned: str | None
    site: str | None
    target: str | None
    since: float


_COLUMNS = (
    job.c.id,
    job.c.workflow_id,
    job.c.allocation_id,
    job.c.type,
    job.c.state,
    job.c.first_event,
    job.c.events,
    job.c.pinned,
    job.c.site,
    job.c.target,
    job.c.since,
)


_TYPES = {str(word): word for word in JobType}
_STATES = {str(word): word for word in JobState}


def _jobs(connection: sa.Connection, query: sa.Select[Any]) -> list[Job]:
    """Return what a query of `_COLUMNS` finds."""
    return [
        Job(identity, owner, part, _TYPES[kind], _STATES[state], Range(first, events), *rest)
        for identity, owner, part, kind, state, first, events, *rest in connection.execute(query).all()
    ]


def next_id(connection: sa.Connection, table: sa.Table) -> int:
    """Return the next free id; safe, because there is one writer and rows are never deleted."""
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))).scalar_one()) + 1


def create(tx: Tx, owner: Allocation, spec: WorkflowSpec, pieces: Sequence[Range]) -> list[int]:
    """Make jobs of the next pieces of an allocation and return their ids.

    Nothing is made, and [] returned, if the allocation was cut further in the meantime.
    """
    if not pieces or pieces[0].first != owner.range.first + owner.cut_events:
        return []
    events = sum(piece.events for piece in pieces)
    guard = (
        allocation.c.id == owner.id,
        allocation.c.cut_events == owner.cut_events,
        allocation.c.state == AllocationState.ACTIVE,
    )
    grown = allocation.update().where(*guard).values(cut_events=owner.cut_events + events)
    if tx.connection.execute(grown).rowcount != 1:
        return []
    first_id = next_id(tx.connection, job)
    common = {
        "workflow_id": owner.workflow_id,
        "allocation_id": owner.id,
        "type": JobType.PROCESSING,
        "rank": rank(JobType.PROCESSING, spec.priority),
        "created_at": tx.now,
        "state": JobState.NEW,
        "since": tx.now,
    }
    rows = [
        {
            **common,
            "id": first_id + n,
            "unit": unit_id(owner.workflow_id, owner.remote_id, owner.fence, *piece),
            "first_event": piece.first,
            "events": piece.events,
        }
        for n, piece in enumerate(pieces)
    ]
    bulk.insert(tx.connection, job, rows)
    new = Place(JobState.NEW, owner.workflow_id, JobType.PROCESSING, "", "")
    counters.book(tx.connection, {(counters.JOB, new): [len(rows), events, 0]})
    ids = [first_id + n for n in range(len(pieces))]
    for start in range(0, len(ids), CHUNK):
        tx.emit(e.JobsCreated(ids=ids[start : start + CHUNK]))
    if owner.cut_events + events == owner.range.events:
        move(tx, allocation, ALLOCATION_TABLE, e.AllocationsCut(ids=[owner.id]))
    return ids


def load(connection: sa.Connection, ids: Iterable[int]) -> list[Job]:
    query = sa.select(*_COLUMNS).where(among(job.c.id, list(ids))).order_by(job.c.id)
    return _jobs(connection, query)


def queued(connection: sa.Connection) -> list[Standing]:
    """Return how many jobs are queued at each place: of which workflow, type and pinned site."""
    return heads.standings(connection, counters.JOB, tally.c.state == JobState.QUEUED)


def queue_head(connection: sa.Connection, ranked: Sequence[tuple[int, Standing, int]], limit: int) -> list[Job]:
    """Return the first queued jobs: type, workflow priority, age (PA-201).

    `ranked` are the places that may be released now, as (queue rank, place, most jobs of it). Jobs of all others, however
    many stand before, are not looked at.
    """
    found: list[int] = []
    for _, group in groupby(sorted(ranked, key=lambda one: -one[0]), key=lambda one: one[0]):
        chosen = [(one.place, most) for _, one, most in group]
        found += heads.ids(connection, counters.JOB, chosen, limit - len(found))
        if len(found) >= limit:
            break
    by_id = {one.id: one for one in load(connection, found)}
    return [by_id[identity] for identity in found]


def oldest(connection: sa.Connection, state: JobState, limit: int) -> list[Job]:
    """Return the first jobs in a state."""
    return load(connection, heads.oldest(connection, counters.JOB, [state], limit))


def targets_with(connection: sa.Connection, state: JobState) -> list[str]:
    """Return the targets that hold jobs in a state."""
    rows = counters.sums(connection, counters.JOB, ["target"], tally.c.state == state)
    return sorted(row.target for row in rows if row.target)


def at_target(connection: sa.Connection, target: str, *states: JobState, limit: int = 5000) -> list[Job]:
    """Return jobs at one target in these states, oldest first."""
    query = sa.select(*_COLUMNS).where(job.c.target == target, job.c.state.in_(states))
    return _jobs(connection, query.order_by(job.c.id).limit(limit))


def loads(connection: sa.Connection) -> Counter[tuple[str, JobType]]:
    """Return how many jobs each target holds by type: released, submitting, pending or running."""
    held = tally.c.state.in_((JobState.RELEASED, *AT_TARGET))
    rows = counters.sums(connection, counters.JOB, ["target", "type"], held)
    return Counter({(row.target, JobType(row.type)): int(row.number) for row in rows})


def waiting_count(connection: sa.Connection, workflow_id: int | None = None) -> int:
    """Return how many processing jobs are cut and not yet released."""
    where = [tally.c.type == JobType.PROCESSING]
    if workflow_id is not None:
        where.append(tally.c.workflow_id == workflow_id)
    return counters.items(connection, counters.JOB, AHEAD, *where)


def admit(tx: Tx, ids: list[int]) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsQueued(ids=ids))


def pause(tx: Tx, ids: list[int], reason: str) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsPaused(ids=ids, reason=reason), wake_at=None)


def release(tx: Tx, ids: list[int], site: str, target: str) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsReleased(ids=ids, site=site, target=target), site=site, target=target)


def requeue(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Put failed, cooling, paused or reopened jobs back into the queue; reopened ones are no longer lost."""
    lost = sa.select(job.c.id).where(among(job.c.id, ids), job.c.state == JobState.EXHAUSTED)
    if reopened := list(tx.connection.execute(lost).scalars()):
        credit(tx, reopened, lost=-1)
    return move(tx, job, JOB_TABLE, e.JobsRequeued(ids=ids, reason=reason), wake_at=None)


def cool_off(tx: Tx, ids: list[int], until: float, reason: str) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsCooledOff(ids=ids, until=until, reason=reason), wake_at=until)


def wake(tx: Tx, limit: int = 1000) -> list[int]:
    """Requeue jobs whose back-off is over."""
    due = sa.select(job.c.id).where(job.c.wake_at <= tx.now, job.c.state == JobState.COOLOFF).limit(limit)
    ids = list(tx.connection.execute(due).scalars())
    return requeue(tx, ids, "back-off is over") if ids else []


def next_wake(connection: sa.Connection) -> float | None:
    """Return when the next back-off ends (UTC epoch seconds)."""
    first = sa.select(job.c.wake_at).where(job.c.wake_at.is_not(None), job.c.state == JobState.COOLOFF)
    due: float | None = connection.execute(first.order_by(job.c.wake_at).limit(1)).scalar_one_or_none()
    return due


def exhaust(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Give up: the events count as lost."""
    moved = move(tx, job, JOB_TABLE, e.JobsExhausted(ids=ids, reason=reason))
    if moved:
        credit(tx, moved, lost=1)
    return moved


def kill(tx: Tx, ids: list[int], reason: str, fact: type[e.JobEvent] = e.JobsKilled) -> list[int]:
    """End jobs for good and write `fact`; return those ended.

    Attempts that the batch system may hold are ended by the tracker, which keeps asking until none is left.
    """
    moved = move(tx, job, JOB_TABLE, fact(ids=ids, reason=reason), kill=True, wake_at=None)
    if moved:
        held = (among(attempt.c.job_id, moved), attempt.c.live == 1)
        counters.closed(tx, held, "killed")
        tx.connection.execute(
            attempt.update().where(*held).values(live=None, outcome="killed", cause=reason[:500], closed_at=tx.now)
        )
        credit(tx, moved, lost=1)
    return moved


def matching(
    connection: sa.Connection, *, workflow_name: str, states: Sequence[JobState], limit: int = 100
) -> list[Job]:
    """Return jobs of a workflow in these states, newest first."""
    owner = sa.select(workflow.c.id).where(workflow.c.name == workflow_name).scalar_subquery()
    query = sa.select(*_COLUMNS).where(job.c.workflow_id == owner, job.c.state.in_(states))
    return _jobs(connection, query.order_by(job.c.id.desc()).limit(limit))


def take_back(tx: Tx, lease_s: float) -> list[int]:
    """Return released jobs to the queue that no submitter has taken within the lease (PA-204)."""
    targets = targets_with(tx.connection, JobState.RELEASED)
    released = (job.c.target.in_(targets), job.c.state == JobState.RELEASED)
    stale = sa.select(job.c.id).where(*released, job.c.since <= tx.now - lease_s)
    ids = list(tx.connection.execute(stale).scalars())
    return move(tx, job, JOB_TABLE, e.JobsReturned(ids=ids, reason="not taken by its target in time")) if ids else []


def kill_workflow(tx: Tx, workflow_id: int, spec: WorkflowSpec, owners: Sequence[Allocation], reason: str) -> list[int]:
    """End all unfinished jobs of a workflow, and what is not cut yet as one job per range: no event is unaccounted."""
    for owner in owners:
        rest = Range(owner.range.first + owner.cut_events, owner.range.events - owner.cut_events)
        if rest.events:
            create(tx, owner, spec, [rest])
    query = sa.select(job.c.id).where(job.c.workflow_id == workflow_id, job.c.state.in_(KILLABLE))
    return kill(tx, list(tx.connection.execute(query).scalars()), reason)


def settled_with_manager(connection: sa.Connection, ids: Sequence[int]) -> list[int]:
    """Return which jobs belong to ranges whose result a manager has: their events may be somebody else's work by now."""
    query = (
        sa.select(job.c.id)
        .join(allocation, allocation.c.id == job.c.allocation_id)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(among(job.c.id, list(ids)), workflow.c.manager != "")
        .where(allocation.c.state.in_((AllocationState.DONE, AllocationState.REPORTED, AllocationState.REVOKED)))
    )
    return list(connection.execute(query).scalars())

"""Jobs: units of work over disjoint event ranges."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
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
from storage.engine import among, among_words
from storage.heads import Standing
from storage.moves import CHUNK, move
from storage.transaction import Tx

job, allocation, workflow, attempt, tally = (
    schema.job, schema.allocation, schema.workflow, schema.attempt, schema.tally,
)  # fmt: skip


KILLABLE = UNFINISHED
AHEAD = (JobState.NEW, JobState.QUEUED, JobState.COOLOFF)
"""Cut and not yet released; a held one is not counted, or it would stop the intake."""


class Queued(NamedTuple):
    """A job as the queue sees it."""

    id: int
    workflow_id: int
    type: JobType
    pinned: str | None


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


_NAMED = sa.select(*_COLUMNS).where(among(job.c.id)).order_by(job.c.id)


def _jobs(connection: sa.Connection, query: sa.Select[Any], **given: Any) -> list[Job]:
    """Return what a query of `_COLUMNS` finds."""
    return [
        Job(identity, owner, part, _TYPES[kind], _STATES[state], Range(first, events), *rest)
        for identity, owner, part, kind, state, first, events, *rest in connection.execute(query, given).all()
    ]


def next_id(connection: sa.Connection, table: sa.Table) -> int:
    """Return the next free id; safe, because there is one writer and rows are never deleted."""
    return int(connection.execute(_newest(table)).scalar_one()) + 1


@cache
def _newest(table: sa.Table) -> sa.Select[int]:
    return sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0))


_GROW = (
    allocation.update()
    .where(
        allocation.c.id == sa.bindparam("owner"),
        allocation.c.cut_events == sa.bindparam("cut"),
        allocation.c.state == AllocationState.ACTIVE,
    )
    .values(cut_events=sa.bindparam("cut_now"))
)


def create(tx: Tx, owner: Allocation, spec: WorkflowSpec, pieces: Sequence[Range]) -> list[int]:
    """Make jobs of the next pieces of an allocation and return their ids.

    Nothing is made, and [] returned, if the allocation was cut further in the meantime.
    """
    if not pieces or pieces[0].first != owner.range.first + owner.cut_events:
        return []
    events = sum(piece.events for piece in pieces)
    grown = {"owner": owner.id, "cut": owner.cut_events, "cut_now": owner.cut_events + events}
    if tx.connection.execute(_GROW, grown).rowcount != 1:
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
    return _jobs(connection, _NAMED, ids=list(ids))


def queued(connection: sa.Connection) -> list[Standing]:
    """Return how many jobs are queued at each place: of which workflow, type and pinned site."""
    return heads.in_states(connection, counters.JOB, [JobState.QUEUED])


def queue_head(connection: sa.Connection, ranked: Sequence[tuple[int, Standing, int]], limit: int) -> list[Queued]:
    """Return the first queued jobs: type, workflow priority, age (PA-201).

    `ranked` are the places that may be released now, as (queue rank, place, most jobs of it). Jobs of all others, however
    many stand before, are not looked at, nor are the rows of any: what counts stands in their places.
    """
    found: list[Queued] = []
    for _, group in groupby(sorted(ranked, key=lambda one: -one[0]), key=lambda one: one[0]):
        chosen = [(one.place, most) for _, one, most in group]
        for identity, place in heads.placed(connection, counters.JOB, chosen, limit - len(found)):
            found.append(Queued(identity, place.workflow_id, _TYPES[place.type], place.site or None))
        if len(found) >= limit:
            break
    return found


def fresh(
    connection: sa.Connection, unhoused: Callable[[counters.Place], str], limit: int
) -> tuple[list[int], dict[str, list[int]]]:
    """Return the oldest new jobs that some site may take, and those that none may, by the reason: `unhoused` says it of those
    that are counted at one place, "" of jobs that a site may take."""
    found: dict[str, list[counters.Place]] = defaultdict(list)
    for one in heads.in_states(connection, counters.JOB, [JobState.NEW]):
        found[unhoused(one.place)].append(one.place)
    ids = {
        reason: heads.ids(connection, counters.JOB, [(place, limit) for place in places], limit)
        for reason, places in found.items()
    }
    return ids.pop("", []), ids


def targets_with(connection: sa.Connection, state: JobState) -> list[str]:
    """Return the targets that hold jobs in a state."""
    return sorted(row.target for row in connection.execute(_targets_with(state)) if row.target)


@cache
def _targets_with(state: JobState) -> sa.Select[Any]:
    return counters.summing(counters.JOB, ["target"], tally.c.state == state)


def at_target(connection: sa.Connection, target: str, *states: JobState, limit: int = 5000) -> list[Job]:
    """Return jobs at one target in these states, oldest first."""
    return _jobs(connection, _at_target(states), at=target, most=limit)


@cache
def _at_target(states: tuple[JobState, ...]) -> sa.Select[Any]:
    """Made once for each set of states: to build this statement took eight times as long as to run it."""
    query = sa.select(*_COLUMNS).where(job.c.target == sa.bindparam("at"), job.c.state.in_(states))
    return query.order_by(job.c.id).limit(sa.bindparam("most"))


_LOADS = counters.summing(counters.JOB, ["target", "type"], tally.c.state.in_((JobState.RELEASED, *AT_TARGET)))


def loads(connection: sa.Connection) -> Counter[tuple[str, JobType]]:
    """Return how many jobs each target holds by type: released, submitting, pending or running."""
    return Counter({(row.target, JobType(row.type)): int(row.number) for row in connection.execute(_LOADS)})


_WAITING = counters.counting(counters.JOB, AHEAD, tally.c.type == JobType.PROCESSING)
_WAITING_OF = _WAITING.where(tally.c.workflow_id == sa.bindparam("owner"))
_PARKED_OF = counters.counting(
    counters.JOB, [JobState.PAUSED], tally.c.type == JobType.PROCESSING, tally.c.workflow_id == sa.bindparam("owner")
)


def waiting_count(connection: sa.Connection, workflow_id: int | None = None) -> int:
    """Return how many processing jobs are cut and not yet released."""
    if workflow_id is None:
        return int(connection.execute(_WAITING).scalar_one())
    return int(connection.execute(_WAITING_OF, {"owner": workflow_id}).scalar_one())


def parked_count(connection: sa.Connection, workflow_id: int) -> int:
    """Return how many processing jobs of a workflow are paused."""
    return int(connection.execute(_PARKED_OF, {"owner": workflow_id}).scalar_one())


def admit(tx: Tx, ids: list[int]) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsQueued(ids=ids))


def pause(tx: Tx, ids: list[int], reason: str) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsPaused(ids=ids, reason=reason), wake_at=None)


def release(tx: Tx, ids: list[int], site: str, target: str, reason: str = "") -> list[int]:
    fact = e.JobsReleased(ids=ids, site=site, target=target, reason=reason)
    return move(tx, job, JOB_TABLE, fact, site=site, target=target)


_GIVEN_UP = sa.select(job.c.id).where(among(job.c.id), job.c.state == JobState.EXHAUSTED)


def requeue(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Put failed, cooling, paused or reopened jobs back into the queue; reopened ones are no longer lost."""
    if reopened := list(tx.connection.execute(_GIVEN_UP, {"ids": ids}).scalars()):
        credit(tx, reopened, lost=-1)
    return move(tx, job, JOB_TABLE, e.JobsRequeued(ids=ids, reason=reason), wake_at=None)


def cool_off(tx: Tx, ids: list[int], until: float, reason: str) -> list[int]:
    return move(tx, job, JOB_TABLE, e.JobsCooledOff(ids=ids, until=until, reason=reason), wake_at=until)


_AWAKE = (
    sa.select(job.c.id)
    .where(job.c.wake_at <= sa.bindparam("now"), job.c.state == JobState.COOLOFF)
    .limit(sa.bindparam("most"))
)
_NEXT_WAKE = (
    sa.select(job.c.wake_at)
    .where(job.c.wake_at.is_not(None), job.c.state == JobState.COOLOFF)
    .order_by(job.c.wake_at)
    .limit(1)
)


def wake(tx: Tx, limit: int = 1000) -> list[int]:
    """Requeue jobs whose back-off is over."""
    ids = list(tx.connection.execute(_AWAKE, {"now": tx.now, "most": limit}).scalars())
    return requeue(tx, ids, "back-off is over") if ids else []


def next_wake(connection: sa.Connection) -> float | None:
    """Return when the next back-off ends (UTC epoch seconds)."""
    due: float | None = connection.execute(_NEXT_WAKE).scalar_one_or_none()
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
        _end_attempts(tx, moved, reason)
        credit(tx, moved, lost=1)
    return moved


def withdraw(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Take back jobs that do not run yet: released ones, and those that wait in a batch system (PA-211).

    Attempts of these are closed as killed: that uses no allowance, and the tracker asks for their end until it has come.
    """
    move(tx, job, JOB_TABLE, e.JobsReturned(ids=ids, reason=reason))
    moved = move(tx, job, JOB_TABLE, e.JobsWithdrawn(ids=ids, reason=reason))
    if moved:
        _end_attempts(tx, moved, f"withdrawn: {reason}")
    return moved


def _end_attempts(tx: Tx, ids: list[int], reason: str) -> None:
    """Close live attempts that the batch system may hold."""
    held = (among(attempt.c.job_id, ids), attempt.c.live == 1)
    counters.closed(tx, held, "killed")
    tx.connection.execute(
        attempt.update().where(*held).values(live=None, outcome="killed", cause=reason[:500], closed_at=tx.now)
    )


def matching(
    connection: sa.Connection, *, workflow_name: str, states: Sequence[JobState], limit: int = 100
) -> list[Job]:
    """Return jobs of a workflow in these states, newest first."""
    owner = sa.select(workflow.c.id).where(workflow.c.name == workflow_name).scalar_subquery()
    query = sa.select(*_COLUMNS).where(job.c.workflow_id == owner, job.c.state.in_(states))
    return _jobs(connection, query.order_by(job.c.id.desc()).limit(limit))


_NOT_TAKEN = sa.select(job.c.id).where(
    among_words(job.c.target), job.c.state == JobState.RELEASED, job.c.since <= sa.bindparam("before")
)


def take_back(tx: Tx, lease_s: float) -> list[int]:
    """Return released jobs to the queue that no submitter has taken within the lease (PA-204)."""
    targets = targets_with(tx.connection, JobState.RELEASED)
    given = {"words": targets, "before": tx.now - lease_s}
    ids = list(tx.connection.execute(_NOT_TAKEN, given).scalars()) if targets else []
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

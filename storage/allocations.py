"""Allocations: event ranges that this agent was given, and how far it has come with them."""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.allocation import ALLOCATION_TABLE, AllocationState
from domain.job import JobState, JobType
from domain.ranges import Range
from storage import schema
from storage.engine import among
from storage.moves import move
from storage.transaction import Tx

allocation, job, workflow = schema.allocation, schema.job, schema.workflow


class Allocation(NamedTuple):
    """A range with its ledger: events cut into jobs, in catalogued files, and lost for good."""

    id: int
    workflow_id: int
    remote_id: str
    fence: int
    lease_until: float | None
    range: Range
    cut_events: int
    merged_events: int
    lost_events: int
    state: AllocationState


def acquire(
    tx: Tx, workflow_id: int, remote_id: str, span: Range, *, fence: int = 0, lease_until: float | None = None
) -> int:
    """Book a range and return its id; the same range again changes nothing."""
    known = tx.connection.execute(
        sa.select(allocation.c.id).where(allocation.c.remote_id == remote_id)
    ).scalar_one_or_none()
    if known is not None:
        return int(known)
    added = tx.connection.execute(
        allocation.insert().values(
            workflow_id=workflow_id,
            remote_id=remote_id,
            fence=fence,
            lease_until=lease_until,
            first_event=span.first,
            events=span.events,
            state=AllocationState.ACTIVE,
            since=tx.now,
        )
    )
    assert added.inserted_primary_key is not None
    identity = int(added.inserted_primary_key[0])
    tx.emit(e.AllocationsAcquired(ids=[identity]))
    return identity


def load(connection: sa.Connection, *states: AllocationState) -> list[Allocation]:
    """Return the allocations in these states, oldest first."""
    return _select(connection, allocation.c.state.in_(states))


def uncut(connection: sa.Connection, workflow_id: int) -> list[Allocation]:
    """Return the ranges of a workflow that are not all cut into jobs."""
    return _select(
        connection, sa.and_(allocation.c.workflow_id == workflow_id, allocation.c.state == AllocationState.ACTIVE)
    )


def by_id(connection: sa.Connection, ids: Iterable[int]) -> list[Allocation]:
    return _select(connection, among(allocation.c.id, list(ids)))


def _select(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[Allocation]:
    return [
        Allocation(
            row.id,
            row.workflow_id,
            row.remote_id,
            row.fence,
            row.lease_until,
            Range(row.first_event, row.events),
            row.cut_events,
            row.merged_events,
            row.lost_events,
            AllocationState(row.state),
        )
        for row in connection.execute(sa.select(allocation).where(where).order_by(allocation.c.id))
    ]


_EVENTS = (
    sa.select(job.c.allocation_id, sa.func.sum(job.c.events))
    .where(among(job.c.id), job.c.type == JobType.PROCESSING, job.c.allocation_id.is_not(None))
    .group_by(job.c.allocation_id)
)
_CREDIT = (
    allocation.update()
    .where(allocation.c.id == sa.bindparam("which"))
    .values(
        merged_events=allocation.c.merged_events + sa.bindparam("more_merged"),
        lost_events=allocation.c.lost_events + sa.bindparam("more_lost"),
    )
)
_FULL = sa.select(allocation.c.id).where(
    among(allocation.c.id),
    allocation.c.state == AllocationState.CUT,
    allocation.c.merged_events + allocation.c.lost_events == allocation.c.events,
)


def credit(tx: Tx, job_ids: list[int], *, merged: int = 0, lost: int = 0) -> None:
    """Book the events of processing jobs in their allocations' ledgers (`merged`, `lost`: +1, 0 or -1 times their events).

    An allocation whose every event is booked is done.
    """
    sums = {identity: int(events) for identity, events in tx.connection.execute(_EVENTS, {"ids": job_ids})}
    for identity, events in sums.items():
        given = {"which": identity, "more_merged": merged * events, "more_lost": lost * events}
        tx.connection.execute(_CREDIT, given)
    if sums:
        _finish(tx, list(sums))


def _finish(tx: Tx, ids: list[int]) -> None:
    if finished := list(tx.connection.execute(_FULL, {"ids": ids}).scalars()):
        move(tx, allocation, ALLOCATION_TABLE, e.AllocationsDone(ids=finished))


def ledger(connection: sa.Connection, identity: int) -> tuple[list[Range], list[Range]]:
    """Return the event ranges of an allocation that are merged, and those that are lost."""
    query = sa.select(job.c.first_event, job.c.events, job.c.state).where(job.c.allocation_id == identity)
    rows = connection.execute(query.order_by(job.c.first_event)).all()
    good = (JobState.SUCCESS, JobState.CLEANED)
    merged = [Range(row.first_event, row.events) for row in rows if row.state in good]
    lost = [Range(row.first_event, row.events) for row in rows if row.state not in good]
    return merged, lost


def reported(tx: Tx, identity: int) -> None:
    """The manager has acknowledged the result."""
    move(tx, allocation, ALLOCATION_TABLE, e.AllocationsReported(ids=[identity]))


def renewed(tx: Tx, identity: int, lease_until: float) -> None:
    tx.connection.execute(allocation.update().where(allocation.c.id == identity).values(lease_until=lease_until))


def revoke(tx: Tx, identity: int, reason: str) -> None:
    """The manager no longer counts this range as ours."""
    move(tx, allocation, ALLOCATION_TABLE, e.AllocationsRevoked(ids=[identity], reason=reason))

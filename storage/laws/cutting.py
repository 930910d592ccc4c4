"""Law 1: the jobs of an allocation are disjoint and cover what was cut of it."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.job import JobType
from storage import schema
from storage.laws.breach import Finding, Scope, none_as_0

allocation, job = schema.allocation, schema.job

FEW = 500
"""Allocations that are asked for by id; of more, all are."""


def cover(scope: Scope) -> Iterator[Finding]:
    """Find jobs that do not start where the one before ended, and allocations whose jobs end elsewhere than its cut."""
    if unruly := [owner for (owner,) in scope.connection.execute(_unruly())]:
        yield from _astray(scope, unruly)
    yield from _ends(scope)
    orphans = sa.select(job.c.id).where(job.c.type == JobType.PROCESSING, job.c.allocation_id.is_(None))
    for (identity,) in scope.rows(orphans):
        yield Finding(f"job {identity}", "processes events of no allocation")


def _unruly() -> sa.Select[Any]:
    """Return the query for the allocations whose jobs, in the order of their ids, do not each start where the one before ended.

    Jobs are cut in that order, so that the one before is mostly the one with the id before; the others are sorted.
    """
    near, before = job.alias("near"), job.alias("before")
    joins = (near.c.first_event + near.c.events == job.c.first_event, near.c.type == JobType.PROCESSING)
    follows = sa.exists().where(near.c.id == job.c.id - 1, near.c.allocation_id == job.c.allocation_id, *joins)
    earlier = (
        before.c.allocation_id == job.c.allocation_id,
        before.c.type == JobType.PROCESSING,
        before.c.id < job.c.id,
    )
    end = sa.select(before.c.first_event + before.c.events).where(*earlier).order_by(before.c.id.desc()).limit(1)
    wanted = sa.func.coalesce(end.correlate(job).scalar_subquery(), allocation.c.first_event)
    apart = sa.select(allocation.c.id).join(job, job.c.allocation_id == allocation.c.id)
    return apart.where(job.c.type == JobType.PROCESSING, ~follows, job.c.first_event != wanted).distinct()


def _astray(scope: Scope, owners: list[int]) -> Iterator[Finding]:
    """Find the jobs of some allocations that do not start where the one before ended."""
    end = job.c.first_event + job.c.events
    before = sa.func.lag(end).over(partition_by=job.c.allocation_id, order_by=(job.c.first_event, job.c.id))
    pieces = (
        sa.select(job.c.id, job.c.allocation_id, job.c.first_event, before.label("before"))
        .where(job.c.type == JobType.PROCESSING, *([job.c.allocation_id.in_(owners)] if len(owners) <= FEW else []))
        .subquery()
    )
    wanted = sa.func.coalesce(pieces.c.before, allocation.c.first_event)
    astray = (
        sa.select(pieces.c.id, pieces.c.first_event, wanted, allocation.c.id)
        .join(allocation, allocation.c.id == pieces.c.allocation_id)
        .where(pieces.c.first_event != wanted)
    )
    for identity, first, expected, owner in scope.rows(astray):
        what = "overlaps the one before" if first < expected else "leaves a gap"
        yield Finding(
            f"job {identity}", f"starts at event {first}, expected {expected} in allocation {owner}: it {what}"
        )


def _ends(scope: Scope) -> Iterator[Finding]:
    last = sa.select(job.c.allocation_id, sa.func.max(job.c.first_event + job.c.events).label("end"))
    last_of = last.where(job.c.type == JobType.PROCESSING).group_by(job.c.allocation_id).subquery()
    reached = sa.func.coalesce(last_of.c.end - allocation.c.first_event, 0)
    query = (
        sa.select(allocation.c.id, none_as_0(reached), allocation.c.cut_events)
        .outerjoin(last_of, last_of.c.allocation_id == allocation.c.id)
        .where(reached != allocation.c.cut_events)
    )
    for identity, events, cut in scope.rows(query):
        yield Finding(f"allocation {identity}", f"its jobs reach over {events} events, {cut} were cut")
    whole = (AllocationState.CUT, AllocationState.DONE, AllocationState.REPORTED)
    state = allocation.c.state
    wrong = sa.or_(
        sa.and_(state.in_(whole), allocation.c.cut_events != allocation.c.events),
        sa.and_(state == AllocationState.ACTIVE, allocation.c.cut_events == allocation.c.events),
    )
    for identity, word, cut, events in scope.rows(
        sa.select(allocation.c.id, state, allocation.c.cut_events, allocation.c.events).where(wrong)
    ):
        yield Finding(f"allocation {identity}", f"is {word} with {cut} of {events} events cut")

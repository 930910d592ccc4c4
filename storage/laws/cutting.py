"""Law 1: the jobs of an allocation are disjoint and cover what was cut of it."""

from collections.abc import Iterator

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.job import JobType
from storage import schema
from storage.laws.breach import Finding, Scope, none_as_0

allocation, job = schema.allocation, schema.job


def cover(scope: Scope) -> Iterator[Finding]:
    """Find jobs that do not start where the one before ended, and allocations whose jobs end elsewhere than its cut."""
    end = job.c.first_event + job.c.events
    before = sa.func.lag(end).over(partition_by=job.c.allocation_id, order_by=(job.c.first_event, job.c.id))
    pieces = (
        sa.select(job.c.id, job.c.allocation_id, job.c.first_event, before.label("before"))
        .where(job.c.type == JobType.PROCESSING)
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
    yield from _ends(scope)
    orphans = sa.select(job.c.id).where(job.c.type == JobType.PROCESSING, job.c.allocation_id.is_(None))
    for (identity,) in scope.rows(orphans):
        yield Finding(f"job {identity}", "processes events of no allocation")


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

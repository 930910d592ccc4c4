"""Sums that are kept beside the rows equal the sums over the rows."""

from collections.abc import Iterator

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.file import BlockState, FileState
from domain.job import UNFINISHED, JobState, JobType
from storage import schema
from storage.laws.breach import Finding, Scope, none_as_0

allocation, block, file, job = schema.allocation, schema.block, schema.file, schema.job


def allocations(scope: Scope) -> Iterator[Finding]:
    """Find allocations whose counts of events are not those of their jobs, or that are done too early or late.

    Lost jobs of a range that no manager waits for may be reopened, also after it was done.
    """

    def events(*states: JobState) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((job.c.state.in_(states), job.c.events), else_=0))

    jobs = sa.select(
        job.c.allocation_id,
        sa.func.sum(job.c.events).label("cut"),
        events(JobState.SUCCESS, JobState.CLEANED).label("merged"),
        events(JobState.EXHAUSTED, JobState.KILLED).label("lost"),
    )
    sums = jobs.where(job.c.type == JobType.PROCESSING).group_by(job.c.allocation_id).subquery()
    kept = (allocation.c.cut_events, allocation.c.merged_events, allocation.c.lost_events)
    counted = (none_as_0(sums.c.cut), none_as_0(sums.c.merged), none_as_0(sums.c.lost))
    query = sa.select(allocation.c.id, *kept, *counted).outerjoin(sums, sums.c.allocation_id == allocation.c.id)
    differ = sa.or_(*(left != right for left, right in zip(kept, counted, strict=True)))
    for identity, *six in scope.rows(query.where(differ)):
        yield Finding(f"allocation {identity}", f"says cut, merged, lost = {six[:3]}, its jobs sum to {six[3:]}")
    full = allocation.c.merged_events + allocation.c.lost_events == allocation.c.events
    state = allocation.c.state
    reopened = sa.exists().where(
        job.c.allocation_id == allocation.c.id,
        job.c.state.in_((*UNFINISHED, JobState.ACCOUNTED)),
        schema.workflow.c.id == allocation.c.workflow_id,
        schema.workflow.c.manager == "",
    )
    wrong = sa.or_(
        sa.and_(state.in_((AllocationState.DONE, AllocationState.REPORTED)), ~full, ~reopened),
        sa.and_(state == AllocationState.CUT, full),
    )
    booked_events = allocation.c.merged_events + allocation.c.lost_events
    early_or_late = sa.select(allocation.c.id, state, booked_events, allocation.c.events).where(wrong)
    for identity, word, booked, whole in scope.rows(early_or_late):
        yield Finding(f"allocation {identity}", f"is {word} with {booked} of {whole} events merged or lost")


def blocks(scope: Scope) -> Iterator[Finding]:
    """Find blocks whose counts are not those of their files, and files in the wrong block or in none."""
    members = sa.select(
        file.c.block_id,
        sa.func.count().label("files"),
        sa.func.sum(file.c.size).label("bytes"),
        sa.func.sum(file.c.events).label("events"),
    )
    sums = members.where(file.c.block_id.is_not(None)).group_by(file.c.block_id).subquery()
    kept = (block.c.files, block.c.bytes, block.c.events)
    counted = (none_as_0(sums.c.files), none_as_0(sums.c.bytes), none_as_0(sums.c.events))
    query = sa.select(block.c.id, *kept, *counted).outerjoin(sums, sums.c.block_id == block.c.id)
    differ = sa.or_(*(left != right for left, right in zip(kept, counted, strict=True)))
    for identity, *six in scope.rows(query.where(differ)):
        yield Finding(f"block {identity}", f"says files, bytes, events = {six[:3]}, its files sum to {six[3:]}")
    torn = block.c.open.is_not(None) != (block.c.state == BlockState.OPEN)
    for identity, word in scope.rows(sa.select(block.c.id, block.c.state).where(torn)):
        yield Finding(f"block {identity}", f"is {word} and its open flag says otherwise")
    shown = file.c.state == FileState.CATALOGUED
    elsewhere = sa.or_(block.c.site != file.c.site, block.c.dataset_id != file.c.dataset_id)
    strays = sa.select(file.c.id, file.c.state, file.c.block_id).outerjoin(block, block.c.id == file.c.block_id)
    for identity, word, owner in scope.rows(strays.where(sa.or_(shown != file.c.block_id.is_not(None), elsewhere))):
        yield Finding(f"file {identity}", f"is {word} in block {owner}, which does not fit its state, dataset or site")

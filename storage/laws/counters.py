"""Sums that are kept beside the rows equal the sums over the rows."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import sqlalchemy as sa
from sqlalchemy.sql.functions import coalesce as Coalesce  # noqa: N812

from domain.allocation import AllocationState
from domain.file import BlockState, FileKind, FileState
from domain.job import UNFINISHED, JobState, JobType
from storage import counters, schema
from storage.laws.breach import Finding, Scope, none_as_0

allocation, attempt, block, cause, file, job, tally = (
    schema.allocation, schema.attempt, schema.block, schema.cause, schema.file, schema.job, schema.tally,
)  # fmt: skip

NOTHING = (0, 0, 0)


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


def kept(scope: Scope) -> Iterator[Finding]:
    """Find sums that are not those of the rows: the ledgers of allocations, and what the table of counters says."""
    yield from allocations(scope)
    yield from tallies(scope)
    yield from causes(scope)


def tallies(scope: Scope) -> Iterator[Finding]:
    """Find places whose counters are not the sums of the rows that are there."""
    columns = (tally.c.entity, *(tally.c[name] for name in counters.Place._fields))
    said = {
        tuple(row[:6]): tuple(row[6:])
        for row in scope.connection.execute(sa.select(*columns, tally.c.number, tally.c.events, tally.c.bytes))
    }
    found = counted(scope)
    wrong = (key for key in sorted({*said, *found}) if said.get(key, NOTHING) != found.get(key, NOTHING))
    for entity, state, owner, kind, site, target in islice(wrong, scope.limits.most):
        key = (entity, state, owner, kind, site, target)
        where = ", ".join(str(word) for word in (kind, site, target) if word)
        yield Finding(
            f"workflow {owner}" if owner else f"target {target}",
            f"says items, events, bytes = {said.get(key, NOTHING)} for {entity}s {state} {where}, "
            f"the rows sum to {found.get(key, NOTHING)}",
        )


def counted(scope: Scope) -> dict[tuple[Any, ...], tuple[int, int, int]]:
    """Return items, events and bytes by (entity, *place) from the rows."""
    zero, none = counters.ZERO, counters.NONE
    attempts = (sa.func.coalesce(attempt.c.outcome, counters.LIVE), zero, none, attempt.c.site, attempt.c.target)
    shown = (file.c.kind == FileKind.MERGED, file.c.state == FileState.CATALOGUED, counters.SERVED)
    sources: list[tuple[str, sa.FromClause, Any, Any, Any, Any]] = [
        (one.entity, one.source, one.place, one.events, one.size, ()) for one in counters.COUNTED.values()
    ]
    sources.append((counters.ATTEMPT, attempt, attempts, zero, zero, ()))
    arrived = (none, file.c.workflow_id, none, none, none)
    sources.append((counters.DELIVERED, file, arrived, file.c.events, file.c.size, shown))
    found: dict[tuple[Any, ...], tuple[int, int, int]] = {}
    for entity, source, place, events, size, where in sources:
        query = sa.select(*place, sa.func.count(), sa.func.sum(events), sa.func.sum(size)).select_from(source)
        by = [_bare(column) for column in place if column is not zero and column is not none]
        for row in scope.connection.execute(query.where(*where).group_by(*by)):
            key = (entity, *row[:5])
            one, two, three = found.get(key, NOTHING)
            found[key] = (one + int(row[5]), two + int(row[6]), three + int(row[7]))
    return found


def _bare(column: Any) -> Any:
    """Return the column below a default for NULL: grouped by that, jobs come in the order of an index and are not sorted."""
    return column.clauses.clauses[0] if isinstance(column, Coalesce) else column


def causes(scope: Scope) -> Iterator[Finding]:
    """Find workflows whose causes of failure do not add up to their failed attempts."""
    said = sa.select(
        cause.c.workflow_id, cause.c.outcome, cause.c.exit_code, cause.c.site, sa.func.sum(cause.c["count"])
    )
    columns = (job.c.workflow_id, attempt.c.outcome, none_as_0(attempt.c.exit_code), attempt.c.site)
    rows = (
        sa.select(*columns, sa.func.count())
        .join_from(attempt, job, job.c.id == attempt.c.job_id)
        .where(schema.SOME_FAILURE)
    )
    pair = [
        {tuple(row[:4]): int(row[4]) for row in scope.connection.execute(query)}
        for query in (said.group_by(*list(said.selected_columns)[:4]), rows.group_by(*columns))
    ]
    for owner, outcome, code, site in sorted({*pair[0], *pair[1]}):
        one, other = (each.get((owner, outcome, code, site), 0) for each in pair)
        if one != other:
            text = f"says {one} attempts {outcome} with exit code {code} at {site}, the rows are {other}"
            yield Finding(f"workflow {owner}", text)


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

"""Events are conserved: of every event that was asked for it is known in which one place it is."""

from collections import defaultdict
from collections.abc import Iterator
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.job import JobState, JobType
from domain.ranges import Range, intersect, subtract, total, union
from storage import schema
from storage.laws.breach import Finding, Limits, Scope
from storage.laws.outputs import catalogued_pieces

allocation, job, workflow = schema.allocation, schema.job, schema.workflow

LOST = (JobState.EXHAUSTED, JobState.KILLED)
DONE = (JobState.SUCCESS, JobState.CLEANED)


class Place(StrEnum):
    """Where an event number may stand."""

    REQUESTED = "requested"
    MERGED = "merged"
    IN_PROGRESS = "in progress"
    LOST = "lost"


class LedgerRow(msgspec.Struct, frozen=True):
    """The events of one workflow that this agent holds: requested = merged + in_progress + lost, by their numbers.

    `doubled` are numbers that stand in more than one place, `missing` those that stand in none, `surplus` those in
    catalogued files although their range was taken back.
    """

    workflow_id: int
    name: str
    state: str
    requested: int
    merged: int
    in_progress: int
    lost: int
    doubled: int
    missing: int
    surplus: int
    doubles: list[Range]
    gaps: list[Range]

    @property
    def complete(self) -> bool:
        """Whether every requested event is in the catalogue exactly once."""
        return self.balanced and self.merged == self.requested

    @property
    def balanced(self) -> bool:
        """Whether every requested event is in exactly one place."""
        return self.doubled == 0 and self.missing == 0 and self.requested == self.merged + self.in_progress + self.lost


class _Line:
    """The ranges of one workflow in one place; they come nearly in order, so that most join the one before."""

    __slots__ = ("_end", "_first", "_runs")

    def __init__(self) -> None:
        self._runs: list[tuple[int, int]] = []
        self._first = self._end = -1

    def add(self, first: int, end: int) -> None:
        if first == self._end:
            self._end = end
            return
        if self._end >= 0:
            self._runs.append((self._first, self._end))
        self._first, self._end = first, end

    def settle(self) -> tuple[list[Range], list[Range]]:
        """Return the ranges joined and in order, and what was there twice."""
        if self._end >= 0:
            self._runs.append((self._first, self._end))
            self._end = -1
        ranges: list[Range] = []
        doubles: list[Range] = []
        for first, end in sorted(self._runs):
            if not ranges or first > ranges[-1].end:
                ranges.append(Range.between(first, end))
                continue
            last = ranges[-1]
            if first < last.end:
                doubles.append(Range.between(first, min(end, last.end)))
            if end > last.end:
                ranges[-1] = Range.between(last.first, end)
        return ranges, doubles


def ledger(connection: sa.Connection) -> list[LedgerRow]:
    """Return one row for each workflow, oldest first."""
    return rows(Scope(connection, 0.0, Limits()))


def conserved(scope: Scope) -> Iterator[Finding]:
    """Find workflows with events that are in no place, in two, or catalogued after their range was taken back."""
    for row in rows(scope):
        if row.doubled:
            yield Finding(
                f"workflow {row.workflow_id}", f"{row.doubled} events are in two places: {_named(row.doubles)}"
            )
        if row.missing:
            yield Finding(f"workflow {row.workflow_id}", f"{row.missing} events are in no place: {_named(row.gaps)}")
    revoked = sa.select(allocation.c.id).where(allocation.c.state == AllocationState.REVOKED)
    if scope.connection.execute(revoked.limit(1)).first() is None:
        return
    late = catalogued_pieces().subquery()
    query = (
        sa.select(schema.file.c.id, job.c.id, allocation.c.id)
        .select_from(late)
        .join(job, job.c.id == late.c.job_id)
        .join(allocation, allocation.c.id == job.c.allocation_id)
        .join(schema.file, schema.file.c.id == late.c.file_id)
        .where(allocation.c.state == AllocationState.REVOKED, schema.file.c.since > allocation.c.since)
    )
    for identity, owner, taken in scope.rows(query):
        yield Finding(
            f"file {identity}", f"was catalogued with the events of job {owner} after allocation {taken} was revoked"
        )


def _named(ranges: list[Range]) -> str:
    names = ", ".join(f"{piece.first}-{piece.end - 1}" for piece in ranges[:5])
    return names if len(ranges) <= 5 else f"{names} and {len(ranges) - 5} more"


def rows(scope: Scope) -> list[LedgerRow]:
    """Return one row for each workflow, worked out once for a snapshot."""
    if "ledger" not in scope.known:
        scope.known["ledger"] = _rows(scope)
    found: list[LedgerRow] = scope.known["ledger"]
    return found


def known(scope: Scope) -> list[LedgerRow]:
    """Return the rows if a law has worked them out for this snapshot, otherwise none."""
    return rows(scope) if "ledger" in scope.known else []


def _rows(scope: Scope) -> list[LedgerRow]:
    lines: dict[tuple[int, str], _Line] = defaultdict(_Line)
    for place, query in _pieces():
        for owner, first, end in scope.stream(query):
            lines[owner, place].add(first, end)
    names = scope.connection.execute(
        sa.select(workflow.c.id, workflow.c.name, workflow.c.state).order_by(workflow.c.id)
    )
    return [
        _row(identity, name, state, {place: lines[identity, place].settle() for place in Place})
        for identity, name, state in names
    ]


def _row(identity: int, name: str, state: str, lines: dict[Place, tuple[list[Range], list[Range]]]) -> LedgerRow:
    requested, merged, live = (lines[place][0] for place in (Place.REQUESTED, Place.MERGED, Place.IN_PROGRESS))
    held = intersect(requested, merged)
    lost = subtract(subtract(lines[Place.LOST][0], merged), live)
    doubles = union(lines[Place.MERGED][1], lines[Place.IN_PROGRESS][1], intersect(merged, live))
    gaps = subtract(requested, union(merged, live, lost))
    return LedgerRow(
        workflow_id=identity,
        name=name,
        state=state,
        requested=total(requested),
        merged=total(held),
        in_progress=total(intersect(requested, live)),
        lost=total(intersect(requested, lost)),
        doubled=total(doubles),
        missing=total(gaps),
        surplus=total(subtract(merged, requested)),
        doubles=doubles,
        gaps=gaps,
    )


def _pieces() -> tuple[tuple[Place, sa.Select[Any]], ...]:
    """Return for each place the query of (workflow, first, end) of its ranges.

    Jobs of a range that was taken back count only with what is catalogued.
    """
    ours = allocation.c.state != AllocationState.REVOKED
    end = job.c.first_event + job.c.events
    columns = (job.c.workflow_id, job.c.first_event, end.label("end"))
    jobs = (
        sa.select(*columns)
        .join(allocation, allocation.c.id == job.c.allocation_id)
        .where(job.c.type == JobType.PROCESSING, ours)
    )
    shown = catalogued_pieces().subquery()
    spans = (
        allocation.c.workflow_id,
        allocation.c.first_event,
        (allocation.c.first_event + allocation.c.events).label("end"),
    )
    rest = (
        allocation.c.workflow_id,
        (allocation.c.first_event + allocation.c.cut_events).label("first_event"),
        spans[2],
    )
    return (
        (Place.REQUESTED, sa.select(*spans).where(ours)),
        (Place.MERGED, sa.select(*columns).join(shown, shown.c.job_id == job.c.id)),
        (Place.IN_PROGRESS, jobs.where(job.c.state.not_in((*LOST, *DONE)))),
        (Place.IN_PROGRESS, sa.select(*rest).where(ours, allocation.c.cut_events < allocation.c.events)),
        (Place.LOST, jobs.where(job.c.state.in_(LOST))),
    )

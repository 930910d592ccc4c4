"""Law 9: every live item progresses, waits with reason and wake time, is parked with reason, or is final."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec
import sqlalchemy as sa

from domain.allocation import AllocationState as A
from domain.file import BlockState
from domain.file import FileState as F
from domain.job import JobState as J
from domain.spec import WorkflowSpec
from domain.transfer import TransferState as T
from domain.workflow import WorkflowState as W
from storage import schema
from storage.laws.breach import Finding, Scope

allocation, job, file, merge_input, outbox, transfer, workflow = (
    schema.allocation, schema.job, schema.file, schema.merge_input, schema.outbox, schema.transfer, schema.workflow,
)  # fmt: skip


class Waits(Enum):
    """What an item in a state waits for."""

    US = "one of the agent's own actors"
    OUTSIDE = "a batch system, a storage or a manager"
    TIME = "its wake time"
    PERSON = "a person"
    TURN = "its turn"
    NOTHING = "nothing"


JOBS: Mapping[J, Waits] = {
    J.NEW: Waits.US,
    J.QUEUED: Waits.TURN,
    J.RELEASED: Waits.US,
    J.SUBMITTING: Waits.US,
    J.PENDING: Waits.OUTSIDE,
    J.RUNNING: Waits.OUTSIDE,
    J.ENDED: Waits.US,
    J.ACCOUNTED: Waits.TURN,
    J.SUCCESS: Waits.TURN,
    J.COOLOFF: Waits.TIME,
    J.PAUSED: Waits.PERSON,
    J.LOST: Waits.US,
    J.FAILED: Waits.US,
    J.EXHAUSTED: Waits.PERSON,
    J.KILLED: Waits.NOTHING,
    J.CLEANED: Waits.NOTHING,
}
FILES: Mapping[F, Waits] = {
    F.UNMERGED: Waits.TURN,
    F.UNDERMERGE: Waits.TURN,
    F.MERGED: Waits.TURN,
    F.REGISTERED: Waits.US,
    F.CATALOGUED: Waits.NOTHING,
    F.INVALID: Waits.US,
    F.REMOVING: Waits.OUTSIDE,
    F.REMOVEFAILED: Waits.PERSON,
    F.REMOVED: Waits.NOTHING,
}
TRANSFERS: Mapping[T, Waits] = {
    T.WANTED: Waits.OUTSIDE,
    T.PLANNED: Waits.US,
    T.OFFERED: Waits.OUTSIDE,
    T.STAGING: Waits.OUTSIDE,
    T.READY: Waits.OUTSIDE,
    T.MOVING: Waits.OUTSIDE,
    T.LANDED: Waits.US,
    T.VERIFIED: Waits.US,
    T.MIGRATING: Waits.OUTSIDE,
    T.SAFE: Waits.NOTHING,
    T.RELEASABLE: Waits.OUTSIDE,
    T.RELEASED: Waits.NOTHING,
    T.WAITING: Waits.TIME,
    T.PARKED: Waits.PERSON,
    T.QUARANTINED: Waits.PERSON,
    T.CANCELLED: Waits.NOTHING,
}
ALLOCATIONS: Mapping[A, Waits] = {
    A.ACTIVE: Waits.TURN,
    A.CUT: Waits.TURN,
    A.DONE: Waits.OUTSIDE,
    A.REPORTED: Waits.NOTHING,
    A.REVOKED: Waits.NOTHING,
}
BLOCKS: Mapping[BlockState, Waits] = {BlockState.OPEN: Waits.TURN, BlockState.CLOSED: Waits.NOTHING}
WORKFLOWS: Mapping[W, Waits] = {
    W.ACTIVE: Waits.TURN,
    W.PAUSED: Waits.PERSON,
    W.COMPLETED: Waits.NOTHING,
    W.ABORTED: Waits.NOTHING,
}
EVERY: tuple[tuple[sa.Table, Mapping[Any, Waits]], ...] = (
    (workflow, WORKFLOWS),
    (allocation, ALLOCATIONS),
    (job, JOBS),
    (file, FILES),
    (schema.block, BLOCKS),
    (transfer, TRANSFERS),
)


def limbo(scope: Scope) -> Iterator[Finding]:
    """Find items that wait longer than the limits allow, or without a reason or a wake time."""
    for table, waits in EVERY:
        for kind, limit in ((Waits.US, scope.limits.handover_s), (Waits.OUTSIDE, scope.limits.outside_s)):
            states = [state for state, what in waits.items() if what is kind]
            late = table.c.since < scope.now - limit
            yield from _aged(scope, table, sa.and_(table.c.state.in_(states), late), f"it waits for {kind.value}")
        people = [state for state, what in waits.items() if what is Waits.PERSON]
        yield from _aged(scope, table, sa.and_(table.c.state.in_(people), table.c.reason == ""), "it has no reason")
    for table, cooling in ((job, J.COOLOFF), (transfer, T.WAITING)):
        overdue = sa.or_(table.c.wake_at.is_(None), table.c.wake_at < scope.now - scope.limits.overdue_s)
        yield from _aged(scope, table, sa.and_(table.c.state == cooling, overdue), "its wake time is over or missing")
    old = schema.block.c.created_at < scope.now - scope.limits.block_s
    yield from _aged(scope, schema.block, sa.and_(schema.block.c.state == BlockState.OPEN, old), "it should be closed")
    yield from _files(scope)
    yield from _calls(scope)


def _aged(scope: Scope, table: sa.Table, where: sa.ColumnElement[bool], why: str) -> Iterator[Finding]:
    for identity, state, since in scope.rows(sa.select(table.c.id, table.c.state, table.c.since).where(where)):
        yield Finding(f"{table.name} {identity}", f"is {state} for {scope.now - since:.0f} s: {why}")


def _files(scope: Scope) -> Iterator[Finding]:
    """Find small files that nobody merges: kept too long, or held by a merge job that was killed."""
    for owner, spec in scope.connection.execute(
        sa.select(workflow.c.id, workflow.c.spec).where(workflow.c.state == W.ACTIVE)
    ).all():
        longest = msgspec.json.decode(spec, type=WorkflowSpec).merge.max_wait_s + scope.limits.handover_s
        kept = sa.and_(file.c.state == F.UNMERGED, file.c.workflow_id == owner, file.c.since < scope.now - longest)
        yield from _aged(scope, file, kept, "no merge takes it")
    held = (
        sa.select(file.c.id, job.c.id, job.c.state)
        .join(merge_input, merge_input.c.file_id == file.c.id)
        .join(job, job.c.id == merge_input.c.job_id)
        .where(file.c.state == F.UNDERMERGE, merge_input.c.live.is_not(None), job.c.state == J.KILLED)
    )
    for identity, owner, state in scope.rows(held.where(job.c.since < scope.now - scope.limits.handover_s)):
        yield Finding(f"file {identity}", f"is held by merge job {owner}, which is {state}")


def _calls(scope: Scope) -> Iterator[Finding]:
    late = scope.now - scope.limits.handover_s
    query = sa.select(outbox.c.id, outbox.c.kind, outbox.c.next_at).where(
        outbox.c.answered.is_(None), outbox.c.next_at < late
    )
    for identity, kind, due in scope.rows(query):
        yield Finding(f"outbox {identity}", f"the call {kind} was due {scope.now - due:.0f} s ago")

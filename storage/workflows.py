"""Workflows: what was asked for."""

import hashlib
from functools import cache, lru_cache
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from domain import events as e
from domain.allocation import ALLOCATION_TABLE, AllocationState
from domain.job import UNFINISHED, JobState, JobType
from domain.spec import WorkflowSpec
from domain.transfer import TransferState
from domain.workflow import WORKFLOW_TABLE, WorkflowState
from storage import counters, schema
from storage.engine import among
from storage.moves import move
from storage.transaction import Tx

workflow, allocation, job, tally = schema.workflow, schema.allocation, schema.job, schema.tally


class NameTaken(Exception):
    """Another workflow with other content has this name."""


class Workflow(NamedTuple):
    """A workflow with its specification; `manager` is empty for one that came from a file."""

    id: int
    name: str
    manager: str
    request: str
    spec: WorkflowSpec
    sandbox: str
    state: WorkflowState
    intake_open: bool
    reason: str
    since: float


def spec_hash(spec: WorkflowSpec, sandbox: str) -> str:
    """Return the hash of all that decides what is produced."""
    return hashlib.sha256(msgspec.json.encode(spec, order="deterministic") + sandbox.encode()).hexdigest()


def add(
    tx: Tx, spec: WorkflowSpec, *, name: str, sandbox: str, events: int, manager: str = "", request: str = ""
) -> tuple[int, bool]:
    """Book a workflow and return (id, new). The same one again changes nothing; raise NameTaken if it differs.

    `events` are the event numbers to be worked through, `sandbox` the sha256 of its files or "".
    """
    digest = spec_hash(spec, sandbox)
    query = sa.select(workflow.c.id, workflow.c.spec_hash, workflow.c.manager, workflow.c.request)
    present = tx.connection.execute(query.where(workflow.c.name == name)).one_or_none()
    if present is not None:
        if present.spec_hash != digest:
            raise NameTaken(f"workflow {name!r} exists with other content; expected a new name, or the same content")
        if (present.manager, present.request) != (manager, request):
            owner = f"request {present.request} of {present.manager}" if present.manager else "a file"
            raise NameTaken(f"workflow {name!r} exists and came from {owner}; expected a new name")
        return present.id, False
    added = tx.connection.execute(
        workflow.insert().values(
            name=name,
            manager=manager,
            request=request,
            spec=msgspec.json.encode(spec).decode(),
            spec_hash=digest,
            sandbox=sandbox,
            priority=spec.priority,
            events=events,
            intake_open=bool(manager),
            created_at=tx.now,
            state=WorkflowState.ACTIVE,
            since=tx.now,
        )
    )
    assert added.inserted_primary_key is not None
    identity = int(added.inserted_primary_key[0])
    tx.emit(e.WorkflowsAdded(ids=[identity]))
    return identity, True


def load(connection: sa.Connection, *states: WorkflowState) -> dict[int, Workflow]:
    """Return workflows by id; all of them if no state is named."""
    return {row.id: _workflow(row) for row in connection.execute(_in_states(states))}


@cache
def _in_states(states: tuple[WorkflowState, ...]) -> sa.Select[Any]:
    query = sa.select(workflow).order_by(workflow.c.id)
    return query.where(workflow.c.state.in_(states)) if states else query


def _workflow(row: sa.Row[*tuple[Any, ...]]) -> Workflow:
    spec, state = _spec(row.spec), WorkflowState(row.state)
    return Workflow(
        row.id, row.name, row.manager, row.request, spec, row.sandbox, state, row.intake_open, row.reason, row.since
    )


@lru_cache(maxsize=1000)
def _spec(text: str) -> WorkflowSpec:
    """A version of a specification never changes and is asked for with every batch of jobs."""
    return msgspec.json.decode(text, type=WorkflowSpec)


def open_intake(tx: Tx, workflow_ids: list[int]) -> None:
    """The manager has sent ranges and may send more; completed workflows are taken up again."""
    tx.connection.execute(workflow.update().where(among(workflow.c.id, workflow_ids)).values(intake_open=True))
    resume_completed(tx, among(workflow.c.id, workflow_ids), "the manager sent more")


def resume_completed(tx: Tx, which: sa.ColumnElement[bool], reason: str) -> None:
    """Take completed workflows up again."""
    ids = list(
        tx.connection.execute(
            sa.select(workflow.c.id).where(which, workflow.c.state == WorkflowState.COMPLETED)
        ).scalars()
    )
    if ids:
        move(tx, workflow, WORKFLOW_TABLE, e.WorkflowsResumed(ids=ids, reason=reason))


_MORE_COMES = sa.select(
    workflow.c.intake_open,
    sa.exists().where(allocation.c.workflow_id == workflow.c.id, allocation.c.state == AllocationState.ACTIVE),
).where(workflow.c.id == sa.bindparam("owner"))


_UNFINISHED = counters.counting(
    counters.JOB, UNFINISHED, tally.c.workflow_id == sa.bindparam("owner"), tally.c.type == JobType.PROCESSING
)


def processing_over(connection: sa.Connection, workflow_id: int) -> bool:
    """Whether no more small files will come: intake closed, all ranges cut, every processing job beyond its last attempt."""
    if any(connection.execute(_MORE_COMES, {"owner": workflow_id}).one()):
        return False
    return connection.execute(_UNFINISHED, {"owner": workflow_id}).scalar_one() == 0


_DELIVERED = (
    TransferState.VERIFIED,
    TransferState.SAFE,
    TransferState.RELEASABLE,
    TransferState.RELEASED,
    TransferState.CANCELLED,
)


def complete_finished(tx: Tx) -> list[str]:
    """Move every workflow to completed whose events are all delivered or named as lost; return their names."""
    ids = list(tx.connection.execute(_OVER).scalars())
    if not ids:
        return []
    counters.purge(tx, ids)
    moved = move(tx, workflow, WORKFLOW_TABLE, e.WorkflowsCompleted(ids=ids))
    return list(tx.connection.execute(sa.select(workflow.c.name).where(among(workflow.c.id, moved))).scalars())


def _over() -> sa.Select[int]:
    ended = (AllocationState.REPORTED, AllocationState.REVOKED)
    open_range = sa.exists().where(allocation.c.workflow_id == workflow.c.id, allocation.c.state.not_in(ended))
    any_range = sa.exists().where(allocation.c.workflow_id == workflow.c.id)
    left = sa.or_(
        sa.and_(tally.c.entity == counters.JOB, tally.c.state.in_((*UNFINISHED, JobState.ACCOUNTED))),
        sa.and_(tally.c.entity == counters.TRANSFER, tally.c.state.not_in(_DELIVERED)),
    )
    busy = sa.select(tally.c.workflow_id).where(left, tally.c.number > 0)
    return sa.select(workflow.c.id).where(
        workflow.c.state == WorkflowState.ACTIVE, ~workflow.c.intake_open, any_range, ~open_range,
        workflow.c.id.not_in(busy),
    )  # fmt: skip


_OVER = _over()


def named(connection: sa.Connection, name: str) -> int:
    """Return the id of a workflow. Raise LookupError for an unknown name."""
    identity = connection.execute(sa.select(workflow.c.id).where(workflow.c.name == name)).scalar_one_or_none()
    if identity is None:
        raise LookupError(f"no workflow {name!r}")
    return int(identity)


def hold(tx: Tx, name: str, *, hold: bool, reason: str, dry_run: bool) -> list[int]:
    """Pause or resume a workflow by name; return the ids changed. Raise LookupError for an unknown name."""
    identity = named(tx.connection, name)
    event = (
        e.WorkflowsPaused(ids=[identity], reason=reason) if hold else e.WorkflowsResumed(ids=[identity], reason=reason)
    )
    return [identity] if dry_run else move(tx, workflow, WORKFLOW_TABLE, event)


def reopen(tx: Tx, job_ids: list[int]) -> None:
    """Take completed workflows up again of which jobs were requeued."""
    resume_completed(
        tx, workflow.c.id.in_(sa.select(job.c.workflow_id).where(among(job.c.id, job_ids))), "jobs were retried"
    )


def abort(tx: Tx, name: str, reason: str) -> list[int]:
    """Give a workflow up: no more ranges are cut. Return the ids moved; raise LookupError for an unknown name."""
    return move(tx, workflow, WORKFLOW_TABLE, e.WorkflowsAborted(ids=[named(tx.connection, name)], reason=reason))


def close_intake(tx: Tx, manager: str) -> None:
    """The manager has no more work for us now: what is left of its workflows is the end of them."""
    tx.connection.execute(workflow.update().where(workflow.c.manager == manager).values(intake_open=False))


_OWN_DONE = (
    sa.select(allocation.c.id)
    .join(workflow, workflow.c.id == allocation.c.workflow_id)
    .where(workflow.c.manager == "", allocation.c.state == AllocationState.DONE)
)


def settle_own(tx: Tx) -> None:
    """Workflows without a manager have nobody to report to: their finished ranges are reported at once."""
    if ids := list(tx.connection.execute(_OWN_DONE).scalars()):
        move(tx, allocation, ALLOCATION_TABLE, e.AllocationsReported(ids=ids, reason="no manager to tell"))

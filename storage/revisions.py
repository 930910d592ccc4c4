"""Versions of the specifications of workflows: the first is what was submitted, the last one counts (PA-216).

A version is open until nothing waits in a batch system any more that does not fit it. A workflow that was never changed has no
rows: its specification is its first version.
"""

from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from domain import events as e
from domain.job import JobState, JobType
from domain.spec import WorkflowSpec
from storage import schema
from storage.transaction import Tx
from storage.workflows import Workflow

revision, workflow, job, attempt = schema.revision, schema.workflow, schema.job, schema.attempt


class Version(NamedTuple):
    """A specification that counted from `at` (UTC epoch seconds) on; `who` and `reason` are empty for the first."""

    workflow_id: int
    version: int
    at: float
    who: str
    reason: str
    spec: WorkflowSpec
    open: bool


class Waiting(NamedTuple):
    """A job that has not begun: with the queue's word (released), on its way (submitting), or in a batch system (pending).

    `asked_at`: when its attempt was made (UTC epoch seconds), None without one."""

    id: int
    state: JobState
    type: JobType
    site: str
    target: str
    pinned: str | None
    asked_at: float | None


def put(tx: Tx, flow: Workflow, spec: WorkflowSpec, who: str, reason: str, changes: list[str]) -> int:
    """Give a workflow its next version and return the number."""
    known = versions(tx.connection, flow.id)
    if not known:
        first = tx.connection.execute(sa.select(workflow.c.created_at).where(workflow.c.id == flow.id)).scalar_one()
        tx.connection.execute(_row(Version(flow.id, 1, first, "", "", flow.spec, open=False)))
    number = known[-1].version + 1 if known else 2
    tx.connection.execute(_row(Version(flow.id, number, tx.now, who, reason, spec, open=True)))
    now = {"spec": msgspec.json.encode(spec).decode(), "priority": spec.priority}
    tx.connection.execute(workflow.update().where(workflow.c.id == flow.id).values(**now))
    tx.emit(
        e.WorkflowRevised(
            ids=[flow.id], reason=reason, who=who, number=number, changes=[text[:2000] for text in changes]
        )
    )
    return number


def _row(new: Version) -> sa.Insert:
    values = new._asdict() | {
        "who": new.who[:100],
        "reason": new.reason[:500],
        "spec": msgspec.json.encode(new.spec).decode(),
        "open": 1 if new.open else None,
    }
    return revision.insert().values(**values)


def versions(connection: sa.Connection, workflow_id: int) -> list[Version]:
    """Return the versions of a workflow, the first one first; [] if it was never changed."""
    query = sa.select(revision).where(revision.c.workflow_id == workflow_id).order_by(revision.c.version)
    return [_version(row) for row in connection.execute(query)]


def _version(row: sa.Row[*tuple[Any, ...]]) -> Version:
    values = row._asdict()
    spec = msgspec.json.decode(values["spec"], type=WorkflowSpec)
    return Version(**values | {"spec": spec, "open": values["open"] is not None})


_OPEN = sa.select(revision.c.workflow_id).where(revision.c.open == 1).distinct()


def unsettled(connection: sa.Connection) -> list[int]:
    """Return the workflows of which a version is open."""
    return list(connection.execute(_OPEN).scalars())


def settle(tx: Tx, workflow_id: int, last: int) -> None:
    """Nothing waits any more that does not fit the version `last`, or any before it."""
    which = (revision.c.workflow_id == workflow_id, revision.c.version <= last)
    tx.connection.execute(revision.update().where(*which).values(open=None))


_BEFORE = (JobState.RELEASED, JobState.SUBMITTING, JobState.PENDING)


def waiting(connection: sa.Connection, workflow_id: int) -> list[Waiting]:
    """Return the jobs of a workflow that a target has and that have not begun, oldest first."""
    query = (
        sa.select(job.c.id, job.c.state, job.c.type, job.c.site, job.c.target, job.c.pinned, attempt.c.created_at)
        .outerjoin(attempt, sa.and_(attempt.c.job_id == job.c.id, attempt.c.live == 1))
        .where(job.c.workflow_id == workflow_id, job.c.state.in_(_BEFORE))
        .order_by(job.c.id)
    )
    return [Waiting(row[0], JobState(row[1]), JobType(row[2]), *row[3:]) for row in connection.execute(query)]

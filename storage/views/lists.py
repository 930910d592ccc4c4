"""Lists: jobs, files, transfers, failures, alerts, dead letters, datasets, the audit."""

from collections.abc import Sequence

import sqlalchemy as sa

from domain.exit_codes import classify
from domain.file import FileKind, FileState
from domain.job import JobState
from domain.transfer import TransferState
from storage import alerts, log, schema
from storage.views.records import (
    AlertView,
    AttemptView,
    AuditView,
    Cause,
    DatasetView,
    FileRow,
    JobRow,
    ParkedView,
    TransferView,
)
from storage.views.rows import MAX_ROWS, rows, unknown

workflow, job, attempt, file = schema.workflow, schema.job, schema.attempt, schema.file
transfer, block, dataset, audit = schema.transfer, schema.block, schema.dataset, schema.audit

FAILED = ("failed", "lost")


def causes(connection: sa.Connection, workflow_name: str | None = None, limit: int = 20) -> list[Cause]:
    """Return what made attempts fail, most frequent first."""
    columns = (attempt.c.exit_code, attempt.c.blame, attempt.c.site)
    newest = sa.func.max(attempt.c.id).label("newest")
    query = sa.select(
        *columns, sa.func.count().label("count"), sa.func.max(attempt.c.closed_at).label("last_at"), newest
    )
    query = query.where(attempt.c.outcome.in_(FAILED)).group_by(*columns).order_by(sa.desc("count")).limit(limit)
    if workflow_name is not None:
        query = query.join(job, job.c.id == attempt.c.job_id).join(workflow).where(workflow.c.name == workflow_name)
    found = connection.execute(query).all()
    chosen = sa.select(attempt.c.id, attempt.c.job_id, attempt.c.cause).where(
        attempt.c.id.in_([row.newest for row in found])
    )
    texts = {identity: (owner, cause) for identity, owner, cause in connection.execute(chosen)}
    return [
        Cause(
            exit_code=row.exit_code,
            meaning="" if row.exit_code is None else classify(row.exit_code).name,
            blame=row.blame,
            site=row.site,
            count=row.count,  # type: ignore[arg-type] # the column hides the method of the tuple
            last_at=row.last_at,
            job=texts[row.newest][0],
            example=texts[row.newest][1],
        )
        for row in found
    ]


def failures(connection: sa.Connection, limit: int = 20) -> list[AttemptView]:
    """Return the attempts that failed last, newest first."""
    query = sa.select(*(attempt.c[name] for name in AttemptView.__struct_fields__)).where(attempt.c.outcome.in_(FAILED))
    return rows(connection, AttemptView, query.order_by(attempt.c.id.desc()).limit(limit))


def check_workflow(connection: sa.Connection, name: str) -> None:
    """Raise Unknown, with the nearest name, for one that is not there."""
    if connection.execute(sa.select(workflow.c.id).where(workflow.c.name == name)).first() is None:
        raise unknown("workflow", name, list(connection.execute(sa.select(workflow.c.name)).scalars()))


JOB_COLUMNS = (
    job.c.id,
    workflow.c.name.label("workflow"),
    *(
        job.c[name]
        for name in ("type", "state", "since", "reason", "site", "target", "pinned", "first_event", "events", "wake_at")
    ),
    sa.select(sa.func.count()).where(attempt.c.job_id == job.c.id).scalar_subquery().label("attempts"),
)
FILE_COLUMNS = (
    *(file.c[name] for name in ("id", "lfn", "kind", "state", "since", "reason", "site", "size", "events")),
    workflow.c.name.label("workflow"),
    file.c.job_id.label("job"),
)
TRANSFER_COLUMNS = (
    *(transfer.c[name] for name in ("id", "source", "destination", "state", "since", "reason", "attempt", "wake_at")),
    file.c.id.label("file"),
    file.c.lfn,
)


def jobs(
    connection: sa.Connection,
    *,
    workflow_name: str | None = None,
    states: Sequence[JobState] = (),
    site: str | None = None,
    limit: int = 100,
) -> list[JobRow]:
    """Return jobs, newest first."""
    query = sa.select(*JOB_COLUMNS).join(workflow, workflow.c.id == job.c.workflow_id)
    if workflow_name is not None:
        check_workflow(connection, workflow_name)
        query = query.where(workflow.c.name == workflow_name)
    if states:
        query = query.where(job.c.state.in_(states))
    if site is not None:
        query = query.where(job.c.site == site)
    return rows(connection, JobRow, query.order_by(job.c.id.desc()).limit(min(limit, MAX_ROWS)))


def files(
    connection: sa.Connection,
    *,
    workflow_name: str | None = None,
    states: Sequence[FileState] = (),
    kind: FileKind | None = None,
    site: str | None = None,
    limit: int = 100,
) -> list[FileRow]:
    """Return files, newest first."""
    query = sa.select(*FILE_COLUMNS).join(workflow, workflow.c.id == file.c.workflow_id)
    if workflow_name is not None:
        check_workflow(connection, workflow_name)
        query = query.where(workflow.c.name == workflow_name)
    if states:
        query = query.where(file.c.state.in_(states))
    if kind is not None:
        query = query.where(file.c.kind == kind)
    if site is not None:
        query = query.where(file.c.site == site)
    return rows(connection, FileRow, query.order_by(file.c.id.desc()).limit(min(limit, MAX_ROWS)))


def transfers(
    connection: sa.Connection, *, states: Sequence[TransferState] = (), limit: int = 100
) -> list[TransferView]:
    """Return transfers, newest first."""
    query = sa.select(*TRANSFER_COLUMNS).join(file, file.c.id == transfer.c.file_id)
    if states:
        query = query.where(transfer.c.state.in_(states))
    return rows(connection, TransferView, query.order_by(transfer.c.id.desc()).limit(min(limit, MAX_ROWS)))


def open_alerts(connection: sa.Connection) -> list[AlertView]:
    """Return what is open, newest first."""
    return [AlertView(**alert._asdict()) for alert in alerts.open_alerts(connection)]


def dead_letters(connection: sa.Connection, *, dead_only: bool = False) -> list[ParkedView]:
    """Return facts that a subscriber could not handle, oldest first; `dead_only`: without those tried again."""
    return [ParkedView(**parked._asdict()) for parked in log.parked_facts(connection, dead_only=dead_only)]


def datasets(connection: sa.Connection) -> list[DatasetView]:
    """Return the datasets of the local catalogue by name."""
    sums = (sa.func.coalesce(sa.func.sum(block.c[name]), 0).label(name) for name in ("files", "bytes", "events"))
    counts = (sa.func.count(block.c.id).label("blocks"), sa.func.count(block.c.open).label("open_blocks"))
    query = sa.select(dataset.c.name, dataset.c.status, *sums, *counts).outerjoin(
        block, block.c.dataset_id == dataset.c.id
    )
    return rows(
        connection, DatasetView, query.group_by(dataset.c.id, dataset.c.name, dataset.c.status).order_by(dataset.c.name)
    )


def audited(connection: sa.Connection, limit: int = 100) -> list[AuditView]:
    """Return commands and what came of them, newest first."""
    return rows(connection, AuditView, sa.select(audit).order_by(audit.c.id.desc()).limit(min(limit, MAX_ROWS)))

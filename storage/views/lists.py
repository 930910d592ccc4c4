"""Lists: jobs, files, transfers, failures, alerts, dead letters, datasets, the audit."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from domain.file import FileKind, FileState
from domain.fingerprint import pattern
from domain.job import JobState
from domain.rules import classify
from domain.transfer import TransferState
from storage import alerts, counters, heads, log, schema
from storage.causes import OTHERS
from storage.dead_letters import waiting
from storage.engine import among
from storage.views.records import (
    AlertView,
    AttemptView,
    AuditView,
    Cause,
    DatasetView,
    FileRow,
    JobRow,
    LetterView,
    ParkedView,
    TransferView,
)
from storage.views.rows import MAX_ROWS, rows, unknown

workflow, job, attempt, file = schema.workflow, schema.job, schema.attempt, schema.file
transfer, block, dataset, audit = schema.transfer, schema.block, schema.dataset, schema.audit
tally, cause = schema.tally, schema.cause


_ALONG = (("sqlite", "INDEXED BY ix_cause_top"), ("mysql", "USE INDEX (ix_cause_top)"))
"""Of one workflow too: the rows that another index would lead to are read one by one, in four times the time."""


def causes(
    connection: sa.Connection,
    workflow_name: str | None = None,
    limit: int = 20,
    by: Sequence[str] = ("exit_code", "blame", "site"),
) -> list[Cause]:
    """Return what made attempts fail, most frequent first (PA-416).

    `by` is what makes two failures one kind: of exit_code, blame, site, node, workflow_id and fingerprint (the pattern of
    the message). Reads the sums in `cause`, never the attempts. Nodes and patterns that are too many are one, "(others)".
    """
    columns = [cause.c[name] for name in by]
    count = sa.func.sum(cause.c["count"]).label("failures")
    ages = (sa.func.min(cause.c.first_at).label("first_at"), sa.func.max(cause.c.last_at).label("last_at"))
    query = sa.select(*columns, count, *ages, sa.func.max(cause.c.attempt_id).label("newest"))
    if workflow_name is not None:
        named = sa.select(workflow.c.id).where(workflow.c.name == workflow_name)
        query = query.where(cause.c.workflow_id == connection.execute(named).scalar())
        for dialect, hint in _ALONG:
            query = query.with_hint(cause, hint, dialect)
    found = connection.execute(query.group_by(*columns).order_by(count.desc(), sa.desc("newest")).limit(limit)).all()
    samples = _samples(connection, found)
    return [_cause(row, by, samples) for row in found]


def _samples(connection: sa.Connection, found: Sequence[sa.Row[*tuple[Any, ...]]]) -> dict[int, Any]:
    """Return the newest failed attempt of each kind, with its job and workflow."""
    names = ("job_id", "exit_code", "blame", "rule", "site", "node", "cause")
    columns = [attempt.c[name] for name in names]
    query = sa.select(attempt.c.id, *columns, attempt.c.log, workflow.c.name).join(job, job.c.id == attempt.c.job_id)
    chosen = query.join(workflow).where(attempt.c.id.in_([row.newest for row in found]))
    return {row.id: row for row in connection.execute(chosen)}


def _cause(row: Any, by: Sequence[str], samples: dict[int, Any]) -> Cause:
    one = samples[row.newest]
    return Cause(
        exit_code=one.exit_code,
        meaning=one.rule or classify(one.exit_code or 0).name,
        blame=one.blame,
        site=one.site if "site" in by else "",
        count=int(row.failures),
        first_at=row.first_at,
        last_at=row.last_at,
        job=one.job_id,
        example=one.cause,
        pattern=_pattern(row.fingerprint, one.cause) if "fingerprint" in by else "",
        log=one.log,
        workflow=one.name if "workflow_id" in by else "",
        node=row.node if "node" in by else "",
    )


def _pattern(fingerprint: str, text: str | None) -> str:
    return OTHERS if fingerprint == OTHERS else pattern(text or "")


def failures(connection: sa.Connection, limit: int = 20) -> list[AttemptView]:
    """Return the attempts that failed last, newest first."""
    columns = [attempt.c[name] for name in AttemptView.__struct_fields__]
    found: list[AttemptView] = []
    for outcome in schema.FAILED:
        query = sa.select(*columns).where(schema.SOME_FAILURE, attempt.c.outcome == outcome)
        found += rows(connection, AttemptView, query.order_by(attempt.c.id.desc()).limit(limit))
    return sorted(found, key=lambda one: -one.id)[:limit]


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
    most = min(limit, MAX_ROWS)
    query = sa.select(*JOB_COLUMNS).join(workflow, workflow.c.id == job.c.workflow_id).order_by(job.c.id.desc())
    where = _of(connection, workflow_name, states)
    if site is not None:
        where.append(tally.c.target.in_(_targets(connection, site)))
    if not where:
        return rows(connection, JobRow, query.limit(most))
    return rows(connection, JobRow, query.where(among(job.c.id, _newest(connection, counters.JOB, where, most))))


def _of(
    connection: sa.Connection, workflow_name: str | None, states: Sequence[JobState | FileState]
) -> list[sa.ColumnElement[bool]]:
    """Return what chooses the places of a list among the counters; raise Unknown for a workflow that is not there."""
    where: list[sa.ColumnElement[bool]] = []
    if workflow_name is not None:
        check_workflow(connection, workflow_name)
        owner = sa.select(workflow.c.id).where(workflow.c.name == workflow_name).scalar_subquery()
        where.append(tally.c.workflow_id == owner)
    if states:
        where.append(tally.c.state.in_([str(state) for state in states]))
    return where


def _targets(connection: sa.Connection, site: str) -> list[str]:
    """Return the targets at a site that have ever had a job."""
    known = counters.sums(connection, counters.JOB, ("target",), tally.c.target != "")
    first = sa.select(job.c.site).limit(1)
    return [row.target for row in known if connection.execute(first.where(job.c.target == row.target)).scalar() == site]


def _newest(connection: sa.Connection, entity: str, where: Sequence[sa.ColumnElement[bool]], most: int) -> list[int]:
    chosen = [(standing.place, most) for standing in heads.standings(connection, entity, *where)]
    return heads.ids(connection, entity, chosen, most, newest=True)


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
    most = min(limit, MAX_ROWS)
    query = sa.select(*FILE_COLUMNS).join(workflow, workflow.c.id == file.c.workflow_id).order_by(file.c.id.desc())
    where = _of(connection, workflow_name, states)
    if kind is not None:
        where.append(tally.c.type == kind)
    if site is not None:
        where.append(tally.c.site == site)
    if not where:
        return rows(connection, FileRow, query.limit(most))
    return rows(connection, FileRow, query.where(among(file.c.id, _newest(connection, counters.FILE, where, most))))


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


def dead_mail(connection: sa.Connection) -> list[LetterView]:
    """Return messages that no actor handled and that wait for a person, oldest first."""
    return [LetterView(**letter._asdict()) for letter in waiting(connection)]


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

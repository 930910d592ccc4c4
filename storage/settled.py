"""Whether a store is at rest, what in it waits for a person, and one number for all that has happened in it."""

import hashlib
from typing import NamedTuple

import sqlalchemy as sa

from domain.file import FileState as F
from domain.job import JobState as J
from domain.transfer import TransferState as T
from domain.workflow import WorkflowState as W
from storage import schema

RESTING: tuple[tuple[sa.Table, tuple[str, ...]], ...] = (
    (schema.workflow, (W.COMPLETED, W.ABORTED)),
    (schema.job, (J.CLEANED, J.EXHAUSTED, J.KILLED)),
    (schema.transfer, (T.SAFE, T.RELEASED, T.CANCELLED, T.PARKED, T.QUARANTINED)),
    (schema.file, (F.CATALOGUED, F.REMOVED, F.REMOVEFAILED)),
)
"""The states in which nothing follows by itself."""
event, job, file, merge_input, transfer = schema.event, schema.job, schema.file, schema.merge_input, schema.transfer
workflow = schema.workflow


class Stuck(NamedTuple):
    """Something that only a person can move: how many events hang on it, and why it stopped."""

    subject: str
    workflow: str
    events: int
    reason: str


def unsettled(connection: sa.Connection) -> int:
    """Return how many workflows, jobs, transfers and files something still follows for."""
    counts = (
        sa.select(sa.func.count()).where(table.c.state.not_in(states)).scalar_subquery() for table, states in RESTING
    )
    return sum(connection.execute(sa.select(*counts)).one())


def for_people(connection: sa.Connection) -> list[Stuck]:
    """Return what waits for a person: merges without an allowance that hold their members, quarantined transfers, and
    what somebody or some rule has paused."""
    given_up = (
        sa.select(job.c.id, workflow.c.name, sa.func.sum(file.c.events), job.c.reason)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .join(merge_input, merge_input.c.job_id == job.c.id)
        .join(file, file.c.id == merge_input.c.file_id)
        .where(job.c.state == J.EXHAUSTED, merge_input.c.live == 1)
        .group_by(job.c.id, workflow.c.name, job.c.reason)
    )
    suspect = (
        sa.select(transfer.c.id, workflow.c.name, file.c.events, transfer.c.reason)
        .join(file, file.c.id == transfer.c.file_id)
        .join(workflow, workflow.c.id == file.c.workflow_id)
        .where(transfer.c.state == T.QUARANTINED)
    )
    paused_jobs = (
        sa.select(job.c.id, workflow.c.name, job.c.events, job.c.reason)
        .join(workflow, workflow.c.id == job.c.workflow_id)
        .where(job.c.state == J.PAUSED)
    )
    paused = sa.select(workflow.c.id, workflow.c.name, workflow.c.events, workflow.c.reason).where(
        workflow.c.state == W.PAUSED
    )
    questions = {"merge job": given_up, "transfer": suspect, "job": paused_jobs, "workflow": paused}
    return [
        Stuck(f"{kind} {row[0]}", row[1], int(row[2]), row[3])
        for kind, query in questions.items()
        for row in connection.execute(query.order_by(query.selected_columns[0]))
    ]


def digest(connection: sa.Connection) -> str:
    """Return the sha256 of all facts of the event log, in order, with times, senders and causes: equal histories, equal
    digests."""
    columns = [event.c[name] for name in ("id", "type", "version", "entity", "sender", "cause", "at", "body")]
    found = hashlib.sha256()
    for row in connection.execute(sa.select(*columns).order_by(event.c.id)):
        found.update(repr(tuple(row)).encode())
    return found.hexdigest()

"""Whether a store is at rest, and one number for all that has happened in it."""

import hashlib

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
event = schema.event


def unsettled(connection: sa.Connection) -> int:
    """Return how many workflows, jobs, transfers and files something still follows for."""
    counts = (
        sa.select(sa.func.count()).where(table.c.state.not_in(states)).scalar_subquery() for table, states in RESTING
    )
    return sum(connection.execute(sa.select(*counts)).one())


def digest(connection: sa.Connection) -> str:
    """Return the sha256 of all facts of the event log, in order, with times, senders and causes: equal histories, equal
    digests."""
    columns = [event.c[name] for name in ("id", "type", "version", "entity", "sender", "cause", "at", "body")]
    found = hashlib.sha256()
    for row in connection.execute(sa.select(*columns).order_by(event.c.id)):
        found.update(repr(tuple(row)).encode())
    return found.hexdigest()

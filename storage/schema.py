"""The agent's tables."""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.file import BlockState, FileKind, FileState
from domain.job import JobState, JobType
from domain.transfer import TransferState
from domain.workflow import WorkflowState


class Schema(NamedTuple):
    """A set of tables with its migrations: an Alembic script directory."""

    name: str
    metadata: sa.MetaData
    migrations: Path


NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
metadata = sa.MetaData(naming_convention=NAMING)

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")
Time: sa.Double[float] = sa.Double()
"""UTC epoch seconds."""
Word = sa.String(100)
Line = sa.String(500)
LFN = sa.String(500, collation="utf8mb4_bin").with_variant(sa.String(500), "sqlite")
MAX_LFN = 500


def one_of(column: str, words: type[StrEnum]) -> sa.CheckConstraint:
    """A CHECK drawn from the enumeration, so that no row holds a state that the code does not know."""
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(word)) for word in words)})", name=column)


def _id() -> sa.Column[int]:
    return sa.Column("id", Id, primary_key=True, autoincrement=True)


def _ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, Id, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def _moving() -> tuple[sa.Column[str], sa.Column[int], sa.Column[float], sa.Column[str]]:
    """What every item with a state has: state, version (+1 at each move), since when, and why it waits."""
    return (
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("since", Time, nullable=False),
        sa.Column("reason", Line, nullable=False, server_default=""),
    )


def lease_table(of: sa.MetaData) -> sa.Table:
    """Who holds the store: raised `fence` by `fence`, with the number of the holder's last commit."""
    return sa.Table(
        "lease",
        of,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fence", Id, nullable=False),
        sa.Column("holder", Line, nullable=False),
        sa.Column("taken_at", Time, nullable=False),
        sa.Column("commits", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )


lease = lease_table(metadata)

workflow = sa.Table(
    "workflow",
    metadata,
    _id(),
    sa.Column("name", Word, nullable=False, unique=True),
    sa.Column("manager", Word, nullable=False, server_default=""),
    sa.Column("request", Word, nullable=False, server_default=""),
    sa.Column("spec", sa.Text(2**24 - 1), nullable=False),
    sa.Column("spec_hash", sa.String(64), nullable=False),
    sa.Column("sandbox", sa.String(64), nullable=False, server_default=""),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("intake_open", sa.Boolean(create_constraint=True, name="intake_open"), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    *_moving(),
    one_of("state", WorkflowState),
)

allocation = sa.Table(
    "allocation",
    metadata,
    _id(),
    _ref("workflow_id", "workflow"),
    sa.Column("remote_id", sa.String(150), nullable=False, unique=True),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("lease_until", Time, nullable=True),
    sa.Column("first_event", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("cut_events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("merged_events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lost_events", sa.BigInteger, nullable=False, server_default="0"),
    *_moving(),
    one_of("state", AllocationState),
    sa.CheckConstraint("cut_events <= events AND merged_events + lost_events <= cut_events", name="ledger"),
    sa.Index(None, "workflow_id", "state"),
    sa.Index(None, "state"),
)

job = sa.Table(
    "job",
    metadata,
    _id(),
    sa.Column("unit", sa.String(32), nullable=False, unique=True),
    _ref("workflow_id", "workflow"),
    _ref("allocation_id", "allocation", nullable=True),
    sa.Column("type", sa.String(20), nullable=False),
    sa.Column("rank", sa.Integer, nullable=False),
    sa.Column("first_event", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("pinned", Word, nullable=True),
    sa.Column("site", Word, nullable=True),
    sa.Column("target", Word, nullable=True),
    sa.Column("wake_at", Time, nullable=True),
    sa.Column("kill", sa.Boolean(create_constraint=True, name="kill"), nullable=False, server_default=sa.false()),
    sa.Column("created_at", Time, nullable=False),
    *_moving(),
    one_of("state", JobState),
    one_of("type", JobType),
    sa.Index("ix_job_place", "workflow_id", "state", "type", "pinned", "target"),
    sa.Index(None, "allocation_id"),
    sa.Index(None, "target", "state"),
)
sa.Index("ix_job_wake_at", job.c.wake_at, sqlite_where=job.c.wake_at.is_not(None))

attempt = sa.Table(
    "attempt",
    metadata,
    _id(),
    _ref("job_id", "job"),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("token", sa.String(40), nullable=False, unique=True),
    sa.Column("live", sa.Integer, nullable=True),
    sa.Column("site", Word, nullable=False),
    sa.Column("target", Word, nullable=False),
    sa.Column("batch_id", Word, nullable=False, server_default=""),
    sa.Column("node", Word, nullable=False, server_default=""),
    sa.Column("outcome", sa.String(20), nullable=True),
    sa.Column("exit_code", sa.Integer, nullable=True),
    sa.Column("blame", sa.String(20), nullable=True),
    sa.Column("cause", Line, nullable=True),
    sa.Column("log", sa.Text(2**24 - 1), nullable=True),
    sa.Column("wall_s", sa.Double, nullable=True),
    sa.Column("cpu_s", sa.Double, nullable=True),
    sa.Column("max_rss_mb", sa.Double, nullable=True),
    sa.Column("created_at", Time, nullable=False),
    sa.Column("submitted_at", Time, nullable=True),
    sa.Column("started_at", Time, nullable=True),
    sa.Column("ended_at", Time, nullable=True),
    sa.Column("closed_at", Time, nullable=True),
    sa.Column("cleaned", sa.Integer, nullable=True),
    sa.UniqueConstraint("job_id", "number"),
    sa.UniqueConstraint("job_id", "live"),
    sa.CheckConstraint("live = 1 OR live IS NULL", name="live"),
    sa.CheckConstraint("outcome IN ('success', 'failed', 'lost', 'killed', 'void')", name="outcome"),
    sa.Index(None, "target", "live", "cleaned"),
)
FAILED = ("failed", "lost")
"""Outcomes of attempts that say something of a site or a payload."""
SOME_FAILURE = sa.text("attempt.outcome IN ('failed', 'lost')")
"""What a question has to say, word for word, for SQLite to use the index of failed attempts, which holds no others."""
sa.Index("ix_attempt_failed", attempt.c.outcome, sqlite_where=sa.text("outcome IN ('failed', 'lost')"))

flag = sa.Table(
    "flag",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempt.id"), primary_key=True, autoincrement=False),
    sa.Column("participant", Word, primary_key=True),
    sa.Column("at", Time, nullable=False),
)

dataset = sa.Table(
    "dataset",
    metadata,
    _id(),
    sa.Column("name", LFN, nullable=False, unique=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.CheckConstraint("status IN ('PRODUCTION', 'VALID', 'INVALID', 'DEPRECATED', 'DELETED', 'RO')", name="status"),
)

block = sa.Table(
    "block",
    metadata,
    _id(),
    _ref("dataset_id", "dataset"),
    sa.Column("site", Word, nullable=False),
    sa.Column("name", LFN, nullable=False, unique=True),
    sa.Column("open", sa.Integer, nullable=True),
    sa.Column("files", sa.Integer, nullable=False, server_default="0"),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Time, nullable=False),
    *_moving(),
    one_of("state", BlockState),
    sa.UniqueConstraint("dataset_id", "site", "open"),
    sa.CheckConstraint("open = 1 OR open IS NULL", name="open"),
)

file = sa.Table(
    "file",
    metadata,
    _id(),
    sa.Column("lfn", LFN, nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),
    _ref("workflow_id", "workflow"),
    _ref("job_id", "job"),
    _ref("dataset_id", "dataset"),
    _ref("block_id", "block", nullable=True),
    sa.Column("site", Word, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("adler32", sa.String(8), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", Time, nullable=False),
    *_moving(),
    one_of("state", FileState),
    one_of("kind", FileKind),
    sa.Index(None, "state", "workflow_id", "site"),
    sa.Index(None, "job_id"),
    sa.Index(None, "block_id"),
)

merge_input = sa.Table(
    "merge_input",
    metadata,
    _id(),
    _ref("job_id", "job"),
    _ref("file_id", "file"),
    sa.Column("live", sa.Integer, nullable=True),
    sa.UniqueConstraint("file_id", "live"),
    sa.CheckConstraint("live = 1 OR live IS NULL", name="live"),
    sa.Index(None, "job_id"),
)

replica = sa.Table(
    "replica",
    metadata,
    _id(),
    _ref("file_id", "file"),
    sa.Column("site", Word, nullable=False),
    sa.Column("method", Word, nullable=False),
    sa.Column("verified_at", Time, nullable=False),
    sa.UniqueConstraint("file_id", "site"),
)

transfer = sa.Table(
    "transfer",
    metadata,
    _id(),
    _ref("file_id", "file"),
    sa.Column("source", Word, nullable=False),
    sa.Column("destination", Word, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("wake_at", Time, nullable=True),
    sa.Column("created_at", Time, nullable=False),
    *_moving(),
    one_of("state", TransferState),
    sa.UniqueConstraint("file_id", "destination"),
    sa.Index(None, "state", "destination"),
)
sa.Index("ix_transfer_wake_at", transfer.c.wake_at, sqlite_where=transfer.c.wake_at.is_not(None))

tally = sa.Table(
    "tally",
    metadata,
    sa.Column("entity", sa.String(20), primary_key=True),
    sa.Column("state", sa.String(20), primary_key=True),
    sa.Column("workflow_id", Id, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(20), primary_key=True),
    sa.Column("site", Word, primary_key=True),
    sa.Column("target", Word, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

cause = sa.Table(
    "cause",
    metadata,
    _id(),
    _ref("workflow_id", "workflow"),
    sa.Column("outcome", sa.String(20), nullable=False),
    sa.Column("exit_code", sa.Integer, nullable=False),
    sa.Column("blame", sa.String(20), nullable=False),
    sa.Column("site", Word, nullable=False),
    sa.Column("node", Word, nullable=False),
    sa.Column("fingerprint", sa.String(32), nullable=False),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("first_at", Time, nullable=False),
    sa.Column("last_at", Time, nullable=False),
    sa.Column("attempt_id", Id, nullable=False),
    sa.UniqueConstraint("workflow_id", "outcome", "exit_code", "site", "node", "fingerprint"),
)

event = sa.Table(
    "event",
    metadata,
    _id(),
    sa.Column("type", sa.String(60), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("entity", sa.String(20), nullable=False),
    sa.Column("low", Id, nullable=False),
    sa.Column("high", Id, nullable=False),
    sa.Column("sender", Word, nullable=False),
    sa.Column("cause", Id, nullable=True),
    sa.Column("at", Time, nullable=False),
    sa.Column("body", sa.Text(2**24 - 1), nullable=False),
    sa.Index(None, "type", "id"),
    sa.Index(None, "entity", "low", "high"),
    sqlite_autoincrement=True,
)

cursor = sa.Table(
    "cursor",
    metadata,
    sa.Column("subscriber", Word, primary_key=True),
    sa.Column("position", Id, nullable=False),
    sa.Column("starts", sa.Integer, nullable=False, server_default="0"),
)

parked = sa.Table(
    "parked",
    metadata,
    _id(),
    sa.Column("subscriber", Word, nullable=False),
    _ref("event_id", "event"),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("next_at", Time, nullable=True),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.UniqueConstraint("subscriber", "event_id"),
    sa.Index(None, "next_at"),
)

later = sa.Table(
    "later",
    metadata,
    _id(),
    sa.Column("topic", Word, nullable=False),
    sa.Column("body", sa.Text(2**24 - 1), nullable=False),
    sa.Column("not_before", Time, nullable=False),
    sa.Column("unique_key", Word, nullable=True, unique=True),
    sa.Index(None, "not_before"),
)

horizon = sa.Table(
    "horizon",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("at", Time, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)

folded = sa.Table(
    "folded",
    metadata,
    sa.Column("entity", sa.String(20), primary_key=True),
    sa.Column("first", Id, primary_key=True, autoincrement=False),
    sa.Column("words", sa.Text, nullable=False),
    sa.Column("states", sa.LargeBinary(2**24 - 1), nullable=False),
    sa.Column("moves", sa.LargeBinary(2**24 - 1), nullable=False),
)

daily = sa.Table(
    "daily",
    metadata,
    sa.Column("day", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(60), primary_key=True),
    sa.Column("sender", Word, primary_key=True),
    sa.Column("facts", sa.BigInteger, nullable=False),
    sa.Column("items", sa.BigInteger, nullable=False),
)

restoration = sa.Table(
    "restoration",
    metadata,
    _id(),
    sa.Column("at", Time, nullable=False),
    sa.Column("snapshot", Line, nullable=False),
    sa.Column("snapshot_at", Time, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("remove_unknown", sa.Boolean(create_constraint=True, name="remove_unknown"), nullable=False),
    sa.Column("settled_at", Time, nullable=True),
    sa.Column("report", sa.Text(2**24 - 1), nullable=True),
)

outbox = sa.Table(
    "outbox",
    metadata,
    _id(),
    sa.Column("manager", Word, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("call_id", sa.String(40), nullable=False, unique=True),
    sa.Column("subject", Id, nullable=True),
    sa.Column("body", sa.Text(2**24 - 1), nullable=False),
    sa.Column("answered", sa.Integer, nullable=True),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_at", Time, nullable=False),
    sa.Column("answer", sa.Text(2**24 - 1), nullable=True),
    sa.Index(None, "answered", "next_at"),
)

alert = sa.Table(
    "alert",
    metadata,
    _id(),
    sa.Column("level", sa.String(10), nullable=False),
    sa.Column("code", Word, nullable=False),
    sa.Column("subject", Word, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("first_at", Time, nullable=False),
    sa.Column("last_at", Time, nullable=False),
    sa.Column("count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("closed_at", Time, nullable=True),
    sa.UniqueConstraint("code", "subject"),
    sa.CheckConstraint("level IN ('info', 'warning', 'error', 'critical')", name="level"),
)

dead_letter = sa.Table(
    "dead_letter",
    metadata,
    _id(),
    sa.Column("actor", Word, nullable=False),
    sa.Column("type", Word, nullable=False),
    sa.Column("reason", Word, nullable=False),
    sa.Column("text", Line, nullable=False),
    sa.Column("body", sa.Text(2**24 - 1), nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("traceback", sa.Text, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("count", sa.Integer, nullable=False, server_default="1"),
    sa.Column("first_at", Time, nullable=False),
    sa.Column("last_at", Time, nullable=False),
    sa.Column("closed_at", Time, nullable=True),
    sa.Index(None, "closed_at"),
)

audit = sa.Table(
    "audit",
    metadata,
    _id(),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", Word, nullable=False),
    sa.Column("verb", Word, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)

AGENT = Schema("agent", metadata, Path(__file__).parent / "migrations" / "agent")

"""Tables of what the work makes: files, merges, where copies are and on which ways they go."""

import sqlalchemy as sa

from domain.file import BlockState, FileKind, FileState
from domain.transfer import TransferState
from storage.schema.columns import LFN, Time, Word, metadata, moving, one_of, own_id, ref

dataset = sa.Table(
    "dataset",
    metadata,
    own_id(),
    sa.Column("name", LFN, nullable=False, unique=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created_at", Time, nullable=False),
    sa.CheckConstraint("status IN ('PRODUCTION', 'VALID', 'INVALID', 'DEPRECATED', 'DELETED', 'RO')", name="status"),
)

block = sa.Table(
    "block",
    metadata,
    own_id(),
    ref("dataset_id", "dataset"),
    sa.Column("site", Word, nullable=False),
    sa.Column("name", LFN, nullable=False, unique=True),
    sa.Column("open", sa.Integer, nullable=True),
    sa.Column("files", sa.Integer, nullable=False, server_default="0"),
    sa.Column("bytes", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", Time, nullable=False),
    *moving(),
    one_of("state", BlockState),
    sa.UniqueConstraint("dataset_id", "site", "open"),
    sa.CheckConstraint("open = 1 OR open IS NULL", name="open"),
)

file = sa.Table(
    "file",
    metadata,
    own_id(),
    sa.Column("lfn", LFN, nullable=False, unique=True),
    sa.Column("kind", sa.String(20), nullable=False),
    ref("workflow_id", "workflow"),
    ref("job_id", "job"),
    ref("dataset_id", "dataset"),
    ref("block_id", "block", nullable=True),
    sa.Column("site", Word, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("adler32", sa.String(8), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created_at", Time, nullable=False),
    *moving(),
    one_of("state", FileState),
    one_of("kind", FileKind),
    sa.Index(None, "state", "workflow_id", "site"),
    sa.Index(None, "job_id"),
    sa.Index(None, "block_id"),
)

merge_input = sa.Table(
    "merge_input",
    metadata,
    own_id(),
    ref("job_id", "job"),
    ref("file_id", "file"),
    sa.Column("live", sa.Integer, nullable=True),
    sa.UniqueConstraint("file_id", "live"),
    sa.CheckConstraint("live = 1 OR live IS NULL", name="live"),
    sa.Index(None, "job_id"),
)

replica = sa.Table(
    "replica",
    metadata,
    own_id(),
    ref("file_id", "file"),
    sa.Column("site", Word, nullable=False),
    sa.Column("method", Word, nullable=False),
    sa.Column("verified_at", Time, nullable=False),
    sa.UniqueConstraint("file_id", "site"),
)

transfer = sa.Table(
    "transfer",
    metadata,
    own_id(),
    ref("file_id", "file"),
    sa.Column("source", Word, nullable=False),
    sa.Column("destination", Word, nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Column("fence", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("wake_at", Time, nullable=True),
    sa.Column("created_at", Time, nullable=False),
    *moving(),
    one_of("state", TransferState),
    sa.UniqueConstraint("file_id", "destination"),
    sa.Index(None, "state", "destination"),
)
sa.Index("ix_transfer_wake_at", transfer.c.wake_at, sqlite_where=transfer.c.wake_at.is_not(None))

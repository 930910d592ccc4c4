"""Tables of what happened: the event log, who has read how far, what was compacted, sums beside the rows."""

import sqlalchemy as sa

from storage.schema.columns import Id, Line, Time, Word, metadata, own_id, ref

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
    own_id(),
    ref("workflow_id", "workflow"),
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
    sa.Column("rule", sa.String(60), nullable=False, server_default=""),
    sa.UniqueConstraint("workflow_id", "outcome", "exit_code", "site", "node", "fingerprint"),
)
sa.Index(
    "ix_cause_top",
    *(cause.c[name] for name in ("exit_code", "blame", "site", "fingerprint", "node", "workflow_id")),
    *(cause.c[name] for name in ("count", "first_at", "last_at", "attempt_id")),
)  # holds all that a question after the most frequent causes reads, in the order in which it adds them up

event = sa.Table(
    "event",
    metadata,
    own_id(),
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
    own_id(),
    sa.Column("subscriber", Word, nullable=False),
    ref("event_id", "event"),
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
    own_id(),
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
    own_id(),
    sa.Column("at", Time, nullable=False),
    sa.Column("snapshot", Line, nullable=False),
    sa.Column("snapshot_at", Time, nullable=False),
    sa.Column("event_id", Id, nullable=False),
    sa.Column("remove_unknown", sa.Boolean(create_constraint=True, name="remove_unknown"), nullable=False),
    sa.Column("settled_at", Time, nullable=True),
    sa.Column("report", sa.Text(2**24 - 1), nullable=True),
)

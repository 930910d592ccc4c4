"""Tables of the talk with others: calls to managers, alerts, dead letters, the audit."""

import sqlalchemy as sa

from storage.schema.columns import Id, Line, Time, Word, metadata, own_id

outbox = sa.Table(
    "outbox",
    metadata,
    own_id(),
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
    own_id(),
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
    own_id(),
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
    own_id(),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", Word, nullable=False),
    sa.Column("verb", Word, nullable=False),
    sa.Column("arguments", sa.Text, nullable=False),
    sa.Column("result", sa.Text, nullable=False),
)

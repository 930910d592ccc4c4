"""Tables of what decides where and how jobs run: rules, what operators said, what was learned of sites, nodes and workflows."""

import sqlalchemy as sa

from domain.controls import Kind, Scope
from storage.schema.columns import Id, Line, Time, Word, metadata, one_of, own_id

rulebook = sa.Table(
    "rulebook",
    metadata,
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("rules", sa.Text(2**24 - 1), nullable=False),
)

adjustment = sa.Table(
    "adjustment",
    metadata,
    sa.Column("job_id", Id, sa.ForeignKey("job.id"), primary_key=True, autoincrement=False),
    sa.Column("site", Word, nullable=False, server_default=""),
    sa.Column("node", Word, nullable=False, server_default=""),
    sa.Column("until", Time, nullable=True),
    sa.Column("memory_mb", sa.Integer, nullable=True),
    sa.Column("wall_s", sa.Integer, nullable=True),
    sa.Column("releases", sa.Integer, nullable=False, server_default="0"),
    sa.Column("reason", Line, nullable=False, server_default=""),
)

node = sa.Table(
    "node",
    metadata,
    sa.Column("site", Word, primary_key=True),
    sa.Column("node", Word, primary_key=True),
    sa.Column("strikes", Line, nullable=False, server_default=""),
    sa.Column("since", Time, nullable=True),
    sa.Column("until", Time, nullable=True),
    sa.Column("reason", Line, nullable=False, server_default=""),
    sa.Column("who", Word, nullable=False, server_default=""),
)

brake = sa.Table(
    "brake",
    metadata,
    sa.Column("workflow_id", Id, sa.ForeignKey("workflow.id"), primary_key=True, autoincrement=False),
    sa.Column("failed", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("succeeded", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("probes", sa.Integer, nullable=False, server_default="0"),
    sa.Column("at", Time, nullable=False),
    sa.Column("reason", Line, nullable=False, server_default=""),
)

control = sa.Table(
    "control",
    metadata,
    own_id(),
    sa.Column("scope", sa.String(20), nullable=False),
    sa.Column("subject", Word, nullable=False),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("value", Word, nullable=False, server_default=""),
    sa.Column("reason", Line, nullable=False),
    sa.Column("author", Word, nullable=False),
    sa.Column("since", Time, nullable=False),
    sa.Column("until", Time, nullable=True),
    sa.UniqueConstraint("scope", "subject", "kind"),
    one_of("scope", Scope),
    one_of("kind", Kind),
)

breaker = sa.Table(
    "breaker",
    metadata,
    sa.Column("scope", sa.String(20), primary_key=True),
    sa.Column("name", Word, primary_key=True),
    sa.Column("recent", Word, nullable=False, server_default=""),
    sa.Column("errors", sa.Integer, nullable=False, server_default="0"),
    sa.Column("opens", sa.Integer, nullable=False, server_default="0"),
    sa.Column("opened_at", Time, nullable=True),
    sa.Column("until", Time, nullable=True),
    sa.Column("good", sa.Integer, nullable=False, server_default="0"),
    sa.Column("by_errors", sa.Boolean(create_constraint=True, name="by_errors"), nullable=False),
    sa.Column("evidence", Line, nullable=False, server_default=""),
)

hourly = sa.Table(
    "hourly",
    metadata,
    sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("site", Word, primary_key=True),
    sa.Column("target", Word, primary_key=True),
    sa.Column("good", sa.BigInteger, nullable=False),
    sa.Column("bad", sa.BigInteger, nullable=False),
    sa.Column("payload", sa.BigInteger, nullable=False),
    sa.Column("started", sa.BigInteger, nullable=False),
    sa.Column("waited_s", sa.Double, nullable=False),
)

threshold = sa.Table(
    "threshold",
    metadata,
    sa.Column("target", Word, primary_key=True),
    sa.Column("type", sa.String(20), primary_key=True),
    sa.Column("value", sa.Double, nullable=False),
    sa.Column("at", Time, nullable=False),
)

configured = sa.Table(
    "configured",
    metadata,
    sa.Column("kind", sa.String(20), primary_key=True),
    sa.Column("name", Word, primary_key=True),
    sa.Column("site", Word, nullable=False, server_default=""),
    sa.Column("settings", sa.Text(2**24 - 1), nullable=False),
)

override = sa.Table(
    "override",
    metadata,
    sa.Column("target", Word, primary_key=True),
    sa.Column("limit", sa.String(20), primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=True),
    sa.Column("who", Word, nullable=False),
    sa.Column("reason", Line, nullable=False, server_default=""),
    sa.Column("since", Time, nullable=False),
)

job_list = sa.Table(
    "job_list",
    metadata,
    sa.Column("job_id", Id, sa.ForeignKey("job.id"), primary_key=True, autoincrement=False),
    sa.Column("sites", sa.Text(2**24 - 1), nullable=False),
    sa.Column("deny_sites", sa.Text(2**24 - 1), nullable=False),
    sa.Column("who", Word, nullable=False),
    sa.Column("reason", Line, nullable=False, server_default=""),
    sa.Column("since", Time, nullable=False),
)

added_site = sa.Table(
    "added_site",
    metadata,
    sa.Column("name", Word, primary_key=True),
    sa.Column("settings", sa.Text(2**24 - 1), nullable=False),
    sa.Column("who", Word, nullable=False),
    sa.Column("reason", Line, nullable=False, server_default=""),
    sa.Column("since", Time, nullable=False),
)

offer = sa.Table(
    "offer",
    metadata,
    sa.Column("site", Word, primary_key=True),
    sa.Column("slots", sa.BigInteger, nullable=True),
    sa.Column("releases", sa.Text(2**24 - 1), nullable=True),
    sa.Column("at", Time, nullable=False),
)

learned = sa.Table(
    "learned",
    metadata,
    sa.Column("workflow_id", Id, sa.ForeignKey("workflow.id"), primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(20), primary_key=True),
    sa.Column("resource", sa.String(20), primary_key=True),
    sa.Column("jobs", sa.Integer, nullable=False),
    sa.Column("amount", sa.Integer, nullable=False),
    sa.Column("since", Time, nullable=True),
)

revision = sa.Table(
    "revision",
    metadata,
    sa.Column("workflow_id", Id, sa.ForeignKey("workflow.id"), primary_key=True, autoincrement=False),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", Time, nullable=False),
    sa.Column("who", Word, nullable=False, server_default=""),
    sa.Column("reason", Line, nullable=False, server_default=""),
    sa.Column("spec", sa.Text(2**24 - 1), nullable=False),
    sa.Column("open", sa.Integer, nullable=True),
    sa.CheckConstraint("open = 1 OR open IS NULL", name="open"),
    sa.Index(None, "open"),
)

leaving = sa.Table(
    "leaving",
    metadata,
    sa.Column("target", Word, primary_key=True),
    sa.Column("site", Word, nullable=False),
    sa.Column("settings", sa.Text(2**24 - 1), nullable=False),
    sa.Column("since", Time, nullable=False),
)

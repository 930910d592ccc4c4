"""Tables of the work: workflows, the ranges of events that they were given, jobs, their attempts."""

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.job import JobState, JobType
from domain.workflow import WorkflowState
from storage.schema.columns import Id, Line, Time, Word, lease_table, metadata, moving, one_of, own_id, ref

lease = lease_table(metadata)

workflow = sa.Table(
    "workflow",
    metadata,
    own_id(),
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
    *moving(),
    one_of("state", WorkflowState),
)

allocation = sa.Table(
    "allocation",
    metadata,
    own_id(),
    ref("workflow_id", "workflow"),
    sa.Column("remote_id", sa.String(150), nullable=False, unique=True),
    sa.Column("fence", sa.BigInteger, nullable=False),
    sa.Column("lease_until", Time, nullable=True),
    sa.Column("first_event", sa.BigInteger, nullable=False),
    sa.Column("events", sa.BigInteger, nullable=False),
    sa.Column("cut_events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("merged_events", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lost_events", sa.BigInteger, nullable=False, server_default="0"),
    *moving(),
    one_of("state", AllocationState),
    sa.CheckConstraint("cut_events <= events AND merged_events + lost_events <= cut_events", name="ledger"),
    sa.Index(None, "workflow_id", "state"),
    sa.Index(None, "state"),
)

job = sa.Table(
    "job",
    metadata,
    own_id(),
    sa.Column("unit", sa.String(32), nullable=False, unique=True),
    ref("workflow_id", "workflow"),
    ref("allocation_id", "allocation", nullable=True),
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
    *moving(),
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
    own_id(),
    ref("job_id", "job"),
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
    sa.Column("rule", sa.String(60), nullable=True),
    sa.Column("said", Word, nullable=True),
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

"""Who may run where: what operators said, breakers, attempts by hour, thresholds that grow."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their tables."""
    op.create_table(
        "control",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("scope", sa.String(length=20), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("value", sa.String(length=100), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("author", sa.String(length=100), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_control")),
        sa.UniqueConstraint("scope", "subject", "kind", name=op.f("uq_control_scope_subject_kind")),
        sa.CheckConstraint(
            "scope IN ('agent', 'site', 'target', 'request', 'workflow', 'job')", name=op.f("ck_control_scope")
        ),
        sa.CheckConstraint("kind IN ('hold', 'mode', 'trust')", name=op.f("ck_control_kind")),
    )
    op.create_table(
        "breaker",
        sa.Column("scope", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("recent", sa.String(length=100), server_default="", nullable=False),
        sa.Column("errors", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opens", sa.Integer(), server_default="0", nullable=False),
        sa.Column("opened_at", sa.Double(), nullable=True),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("good", sa.Integer(), server_default="0", nullable=False),
        sa.Column("by_errors", sa.Boolean(create_constraint=True, name="by_errors"), nullable=False),
        sa.Column("evidence", sa.String(length=500), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("scope", "name", name=op.f("pk_breaker")),
    )
    _measured()


def _measured() -> None:
    op.create_table(
        "hourly",
        sa.Column("hour", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("site", sa.String(length=100), nullable=False),
        sa.Column("target", sa.String(length=100), nullable=False),
        sa.Column("good", sa.BigInteger(), nullable=False),
        sa.Column("bad", sa.BigInteger(), nullable=False),
        sa.Column("payload", sa.BigInteger(), nullable=False),
        sa.Column("started", sa.BigInteger(), nullable=False),
        sa.Column("waited_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("hour", "site", "target", name=op.f("pk_hourly")),
    )
    op.create_table(
        "threshold",
        sa.Column("target", sa.String(length=100), nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("target", "type", name=op.f("pk_threshold")),
    )

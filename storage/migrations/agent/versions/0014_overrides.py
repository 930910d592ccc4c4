"""Limits of targets that operators set in place of those of the configuration; targets and hosts as they were configured last."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    """Add their tables."""
    op.create_table(
        "override",
        sa.Column("target", sa.String(length=100), nullable=False),
        sa.Column("limit", sa.String(length=20), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=True),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("target", "limit", name=op.f("pk_override")),
    )
    op.create_table(
        "configured",
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("site", sa.String(length=100), server_default="", nullable=False),
        sa.Column("settings", sa.Text(length=2**24 - 1), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_configured")),
    )

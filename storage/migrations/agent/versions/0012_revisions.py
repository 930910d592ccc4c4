"""What is changed while the agent runs: versions of specifications, targets that leave the configuration."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their tables."""
    op.create_table(
        "revision",
        sa.Column("workflow_id", ID, autoincrement=False, nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.String(length=100), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("spec", sa.Text(length=2**24 - 1), nullable=False),
        sa.Column("open", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("workflow_id", "version", name=op.f("pk_revision")),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_revision_workflow_id_workflow")),
        sa.CheckConstraint("open = 1 OR open IS NULL", name=op.f("ck_revision_open")),
    )
    op.create_index(op.f("ix_revision_open"), "revision", ["open"])
    op.create_table(
        "leaving",
        sa.Column("target", sa.String(length=100), nullable=False),
        sa.Column("site", sa.String(length=100), nullable=False),
        sa.Column("settings", sa.Text(length=2**24 - 1), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("target", name=op.f("pk_leaving")),
    )

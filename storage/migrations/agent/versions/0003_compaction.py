"""Compaction of the event log, and what a restored store has to find out."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "horizon",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_horizon_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_horizon")),
    )
    op.create_table(
        "folded",
        sa.Column("entity", sa.String(length=20), nullable=False),
        sa.Column("first", ID, autoincrement=False, nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("states", sa.LargeBinary(length=16777215), nullable=False),
        sa.Column("moves", sa.LargeBinary(length=16777215), nullable=False),
        sa.PrimaryKeyConstraint("entity", "first", name=op.f("pk_folded")),
    )
    op.create_table(
        "daily",
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=60), nullable=False),
        sa.Column("sender", sa.String(length=100), nullable=False),
        sa.Column("facts", sa.BigInteger(), nullable=False),
        sa.Column("items", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("day", "type", "sender", name=op.f("pk_daily")),
    )
    op.create_table(
        "restoration",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("snapshot", sa.String(length=500), nullable=False),
        sa.Column("snapshot_at", sa.Double(), nullable=False),
        sa.Column("event_id", ID, nullable=False),
        sa.Column("remove_unknown", sa.Boolean(), nullable=False),
        sa.Column("settled_at", sa.Double(), nullable=True),
        sa.Column("report", sa.Text(length=16777215), nullable=True),
        sa.CheckConstraint("remove_unknown IN (0, 1)", name=op.f("ck_restoration_remove_unknown")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_restoration")),
    )

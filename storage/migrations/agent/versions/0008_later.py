"""Facts to be published later."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "later",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("topic", sa.String(length=100), nullable=False),
        sa.Column("body", sa.Text(length=16777215), nullable=False),
        sa.Column("not_before", sa.Double(), nullable=False),
        sa.Column("unique_key", sa.String(length=100), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_later")),
        sa.UniqueConstraint("unique_key", name=op.f("uq_later_unique_key")),
    )
    op.create_index(op.f("ix_later_not_before"), "later", ["not_before"])

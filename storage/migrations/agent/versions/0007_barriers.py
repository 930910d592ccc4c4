"""Flags of the actors for which a job directory is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their table."""
    op.create_table(
        "flag",
        sa.Column("attempt_id", ID, autoincrement=False, nullable=False),
        sa.Column("participant", sa.String(length=100), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_flag_attempt_id_attempt")),
        sa.PrimaryKeyConstraint("attempt_id", "participant", name=op.f("pk_flag")),
    )

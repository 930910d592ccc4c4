"""Archives of attempts, and an index in the order in which the causes of failures are asked for."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
LFN = sa.String(length=500, collation="utf8mb4_bin").with_variant(sa.String(length=500), "sqlite")


def upgrade() -> None:
    """Add the tables and the index."""
    op.create_table(
        "volume",
        sa.Column("id", ID, autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("site", sa.String(length=100), server_default="", nullable=False),
        sa.Column("name", LFN, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("made_at", sa.Double(), nullable=False),
        sa.CheckConstraint("kind IN ('success', 'failure')", name=op.f("ck_volume_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_volume")),
        sa.UniqueConstraint("name", name=op.f("uq_volume_name")),
    )
    op.create_index(op.f("ix_volume_kind_made_at"), "volume", ["kind", "made_at"])
    op.create_table(
        "archive",
        sa.Column("attempt_id", ID, autoincrement=False, nullable=False),
        sa.Column("volume_id", ID, autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(["attempt_id"], ["attempt.id"], name=op.f("fk_archive_attempt_id_attempt")),
        sa.ForeignKeyConstraint(["volume_id"], ["volume.id"], name=op.f("fk_archive_volume_id_volume")),
        sa.PrimaryKeyConstraint("attempt_id", "volume_id", name=op.f("pk_archive")),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f("ix_archive_volume_id"), "archive", ["volume_id"])
    columns = ["exit_code", "blame", "site", "fingerprint", "node", "workflow_id"]
    op.create_index("ix_cause_top", "cause", [*columns, "count", "first_at", "last_at", "attempt_id"])

"""The first tables of a ProdMgr."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables."""
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("verb", sa.String(length=500), nullable=False),
        sa.Column("result", sa.String(length=500), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit")),
    )
    op.create_table(
        "call",
        sa.Column(
            "caller",
            sa.String(length=100, collation="utf8mb4_bin").with_variant(sa.String(length=100), "sqlite"),
            nullable=False,
        ),
        sa.Column(
            "call_id",
            sa.String(length=100, collation="utf8mb4_bin").with_variant(sa.String(length=100), "sqlite"),
            nullable=False,
        ),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("answer", sa.Text(length=16777215), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("caller", "call_id", name=op.f("pk_call")),
    )
    op.create_index(op.f("ix_call_at"), "call", ["at"], unique=False)
    op.create_table(
        "request",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_by", sa.String(length=100), nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("spec_version", sa.Integer(), nullable=False),
        sa.Column("first_event", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("events_per_job", sa.BigInteger(), nullable=False),
        sa.Column("expanded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("fence", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("spec", sa.Text(length=16777215), nullable=False),
        sa.Column("sites", sa.Text(length=16777215), nullable=False),
        sa.Column("preferences", sa.Text(length=16777215), nullable=False),
        sa.Column("settings", sa.Text(length=16777215), nullable=False),
        sa.Column("spec_checksum", sa.String(length=64), nullable=False),
        sa.Column("sandbox_sha256", sa.String(length=64), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('events', 'files')", name=op.f("ck_request_kind")),
        sa.CheckConstraint(
            "state IN ('new', 'active', 'suspended', 'complete', 'failed')", name=op.f("ck_request_state")
        ),
        sa.CheckConstraint("events > 0 AND expanded >= 0 AND expanded < events", name=op.f("ck_request_events")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_request")),
    )
    op.create_index(op.f("ix_request_state"), "request", ["state"], unique=False)
    op.create_table(
        "sandbox",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_sandbox")),
    )
    op.create_table(
        "token",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("scope", sa.String(length=20), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.CheckConstraint("scope IN ('agent', 'manager')", name=op.f("ck_token_scope")),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_token")),
    )
    op.create_table(
        "allocation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("request_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("agent", sa.String(length=100), nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("first_event", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("merged", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lost", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("progress", sa.Text(), nullable=False),
        sa.Column("lease_until", sa.Double(), nullable=False),
        sa.Column("acquired_at", sa.Double(), nullable=False),
        sa.Column("closed_at", sa.Double(), nullable=True),
        sa.CheckConstraint("state IN ('leased', 'expired', 'reported', 'released')", name=op.f("ck_allocation_state")),
        sa.CheckConstraint("events > 0 AND merged + lost <= events", name=op.f("ck_allocation_events")),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"], name=op.f("fk_allocation_request_id_request")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_allocation")),
        sa.UniqueConstraint("request_id", "fence", name=op.f("uq_allocation_request_id_fence")),
    )
    op.create_index(
        op.f("ix_allocation_request_id_state_lease_until"),
        "allocation",
        ["request_id", "state", "lease_until"],
        unique=False,
    )
    op.create_table(
        "sandbox_part",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(length=16777215), nullable=False),
        sa.ForeignKeyConstraint(["sha256"], ["sandbox.sha256"], name=op.f("fk_sandbox_part_sha256_sandbox")),
        sa.PrimaryKeyConstraint("sha256", "part", name=op.f("pk_sandbox_part")),
    )
    op.create_table(
        "piece",
        sa.Column("request_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first_event", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("allocation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.CheckConstraint("(state = 'leased') = (allocation_id IS NOT NULL)", name=op.f("ck_piece_holder")),
        sa.CheckConstraint("state IN ('free', 'leased', 'merged', 'lost')", name=op.f("ck_piece_state")),
        sa.CheckConstraint("events > 0", name=op.f("ck_piece_events")),
        sa.ForeignKeyConstraint(["allocation_id"], ["allocation.id"], name=op.f("fk_piece_allocation_id_allocation")),
        sa.ForeignKeyConstraint(["request_id"], ["request.id"], name=op.f("fk_piece_request_id_request")),
        sa.PrimaryKeyConstraint("request_id", "first_event", name=op.f("pk_piece")),
    )
    op.create_index(op.f("ix_piece_allocation_id"), "piece", ["allocation_id"], unique=False)
    op.create_index(
        op.f("ix_piece_request_id_state_first_event"), "piece", ["request_id", "state", "first_event"], unique=False
    )
    op.create_table(
        "report",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("allocation_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("late", sa.Integer(), nullable=False),
        sa.Column("body", sa.Text(length=16777215), nullable=False),
        sa.Column("inputs", sa.Text(length=16777215), nullable=False),
        sa.Column("decision", sa.Text(length=16777215), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("reason", sa.String(length=500), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.CheckConstraint("late IN (0, 1)", name=op.f("ck_report_late")),
        sa.ForeignKeyConstraint(["allocation_id"], ["allocation.id"], name=op.f("fk_report_allocation_id_allocation")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_report")),
    )
    op.create_index(op.f("ix_report_allocation_id"), "report", ["allocation_id"], unique=False)

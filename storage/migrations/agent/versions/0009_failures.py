"""What follows a failure: rules in force, what the next attempt of a job is to have, bad nodes, brakes of workflows."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add their tables, and to attempts and causes the rule that they came under."""
    op.add_column("attempt", sa.Column("rule", sa.String(length=60), nullable=True))
    op.add_column("attempt", sa.Column("said", sa.String(length=100), nullable=True))
    op.add_column("cause", sa.Column("rule", sa.String(length=60), server_default="", nullable=False))
    op.create_table(
        "rulebook",
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("rules", sa.Text(length=16777215), nullable=False),
        sa.PrimaryKeyConstraint("version", name=op.f("pk_rulebook")),
    )
    _adjustment()
    op.create_table(
        "node",
        sa.Column("site", sa.String(length=100), nullable=False),
        sa.Column("node", sa.String(length=100), nullable=False),
        sa.Column("strikes", sa.String(length=500), server_default="", nullable=False),
        sa.Column("since", sa.Double(), nullable=True),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("who", sa.String(length=100), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("site", "node", name=op.f("pk_node")),
    )
    op.create_table(
        "brake",
        sa.Column("workflow_id", ID, autoincrement=False, nullable=False),
        sa.Column("failed", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("succeeded", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("probes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_brake_workflow_id_workflow")),
        sa.PrimaryKeyConstraint("workflow_id", name=op.f("pk_brake")),
    )
    op.create_table(
        "learned",
        sa.Column("workflow_id", ID, autoincrement=False, nullable=False),
        sa.Column("type", sa.String(length=20), nullable=False),
        sa.Column("resource", sa.String(length=20), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("amount", sa.Integer(), nullable=False),
        sa.Column("since", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["workflow_id"], ["workflow.id"], name=op.f("fk_learned_workflow_id_workflow")),
        sa.PrimaryKeyConstraint("workflow_id", "type", "resource", name=op.f("pk_learned")),
    )


def _adjustment() -> None:
    op.create_table(
        "adjustment",
        sa.Column("job_id", ID, autoincrement=False, nullable=False),
        sa.Column("site", sa.String(length=100), server_default="", nullable=False),
        sa.Column("node", sa.String(length=100), server_default="", nullable=False),
        sa.Column("until", sa.Double(), nullable=True),
        sa.Column("memory_mb", sa.Integer(), nullable=True),
        sa.Column("wall_s", sa.Integer(), nullable=True),
        sa.Column("releases", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_adjustment_job_id_job")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_adjustment")),
    )

"""Sites where single jobs may run and where not; sites that operators added beside those of the configuration file."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add their tables."""
    op.create_table(
        "job_list",
        sa.Column("job_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("sites", sa.Text(length=2**24 - 1), nullable=False),
        sa.Column("deny_sites", sa.Text(length=2**24 - 1), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_list_job_id_job")),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_list")),
    )
    op.create_table(
        "added_site",
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("settings", sa.Text(length=2**24 - 1), nullable=False),
        sa.Column("who", sa.String(length=100), nullable=False),
        sa.Column("reason", sa.String(length=500), server_default="", nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_added_site")),
    )

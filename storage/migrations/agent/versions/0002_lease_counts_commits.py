"""The lease counts the commits of its holder: a commit whose answer was lost is looked up there."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the count."""
    op.add_column("lease", sa.Column("commits", sa.BigInteger(), server_default="0", nullable=False))

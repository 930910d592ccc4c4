"""A cursor counts the starts of its subscriber since it last moved: a fact that ends the process is found out."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the count."""
    op.add_column("cursor", sa.Column("starts", sa.Integer(), server_default="0", nullable=False))

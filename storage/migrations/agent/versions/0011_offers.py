"""What a feed says that sites offer: slots and releases."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "offer",
        sa.Column("site", sa.String(length=100), nullable=False),
        sa.Column("slots", sa.BigInteger(), nullable=True),
        sa.Column("releases", sa.Text(length=2**24 - 1), nullable=True),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("site", name=op.f("pk_offer")),
    )

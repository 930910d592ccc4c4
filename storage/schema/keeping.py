"""Tables of what is kept of attempts that are over: volumes, and whose archives are in each."""

import sqlalchemy as sa

from domain.archive import Kind
from storage.schema.columns import LFN, Id, Time, Word, metadata, one_of, own_id

volume = sa.Table(
    "volume",
    metadata,
    own_id(),
    sa.Column("kind", sa.String(20), nullable=False),
    sa.Column("site", Word, nullable=False, server_default=""),
    sa.Column("name", LFN, nullable=False, unique=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("made_at", Time, nullable=False),
    one_of("kind", Kind),
    sa.Index(None, "kind", "made_at"),
)

archive = sa.Table(
    "archive",
    metadata,
    sa.Column("attempt_id", Id, sa.ForeignKey("attempt.id"), primary_key=True, autoincrement=False),
    sa.Column("volume_id", Id, sa.ForeignKey("volume.id"), primary_key=True, autoincrement=False),
    sa.Index(None, "volume_id"),
    sqlite_with_rowid=False,
)

"""What tables are made of: kinds of columns, names of constraints, the lease that each store has."""

from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa


class Schema(NamedTuple):
    """A set of tables with its migrations: an Alembic script directory."""

    name: str
    metadata: sa.MetaData
    migrations: Path


NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=NAMING)

Id = sa.BigInteger().with_variant(sa.Integer, "sqlite")

Time: sa.Double[float] = sa.Double()
"""UTC epoch seconds."""

Word = sa.String(100)

Line = sa.String(500)

LFN = sa.String(500, collation="utf8mb4_bin").with_variant(sa.String(500), "sqlite")

MAX_LFN = 500


def one_of(column: str, words: type[StrEnum]) -> sa.CheckConstraint:
    """A CHECK drawn from the enumeration, so that no row holds a state that the code does not know."""
    return sa.CheckConstraint(f"{column} IN ({', '.join(repr(str(word)) for word in words)})", name=column)


def own_id() -> sa.Column[int]:
    return sa.Column("id", Id, primary_key=True, autoincrement=True)


def ref(name: str, target: str, *, nullable: bool = False) -> sa.Column[int]:
    return sa.Column(name, Id, sa.ForeignKey(f"{target}.id"), nullable=nullable)


def moving() -> tuple[sa.Column[str], sa.Column[int], sa.Column[float], sa.Column[str]]:
    """What every item with a state has: state, version (+1 at each move), since when, and why it waits."""
    return (
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False, server_default="0"),
        sa.Column("since", Time, nullable=False),
        sa.Column("reason", Line, nullable=False, server_default=""),
    )


def lease_table(of: sa.MetaData) -> sa.Table:
    """Who holds the store: raised `fence` by `fence`, with the number of the holder's last commit."""
    return sa.Table(
        "lease",
        of,
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("fence", Id, nullable=False),
        sa.Column("holder", Line, nullable=False),
        sa.Column("taken_at", Time, nullable=False),
        sa.Column("commits", sa.BigInteger, nullable=False, server_default="0"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )

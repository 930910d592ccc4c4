"""What it takes to look for breaches of a law: the connection, the moment, the limits."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa


class Breach(msgspec.Struct, frozen=True):
    """One item (`subject`, such as "job 17") that breaks a law, and how."""

    law: str
    subject: str
    text: str


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long an item may stay where it is before it counts as forgotten, in seconds, and how many breaches are named.

    `handover_s`: it waits for one of the agent's own actors. `outside_s`: it waits for a batch system, a storage or a
    manager. `overdue_s`: after its wake time. `block_s`: a block stays open. `most`: breaches named per query of a law.
    """

    handover_s: float = 3600.0
    outside_s: float = 14 * 86400.0
    overdue_s: float = 900.0
    block_s: float = 2 * 86400.0
    most: int = 1000


PART = 5000
"""Rows that are held in memory at a time."""


class Finding(NamedTuple):
    """A breach before it is known which law was asked for."""

    subject: str
    text: str


class Scope:
    """A snapshot of the store at `now` (UTC epoch seconds), read only. `known` keeps what more than one question needs."""

    def __init__(self, connection: sa.Connection, now: float, limits: Limits) -> None:
        self.connection = connection
        self.now = now
        self.limits = limits
        self.known: dict[str, Any] = {}

    def rows(self, query: sa.Select[Any]) -> list[Any]:
        """Return the first offenders that a query finds."""
        return list(self.connection.execute(query.limit(self.limits.most)))

    def parts(self, query: sa.Select[Any]) -> Iterator[Any]:
        """Return all rows of a query, a list of some thousand at a time.

        From SQLite they come as the driver's own tuples: SQLAlchemy's rows cost as much again as reading them.
        """
        if self.connection.dialect.name == "sqlite":
            with self.connection.execute(query) as found:
                cursor: Any = found.cursor
                while part := cursor.fetchmany(PART):
                    yield part
            return
        with self.connection.execution_options(yield_per=PART).execute(query) as result:
            yield from result.partitions()

    def stream(self, query: sa.Select[Any]) -> Iterator[Any]:
        """Return all rows of a query, a part at a time in memory."""
        for part in self.parts(query):
            yield from part


class Law(NamedTuple):
    """A law by name, in one sentence, with the function that finds who breaks it."""

    name: str
    text: str
    find: Callable[[Scope], Iterable[Finding]]


def number(flag: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
    """Return 1 where `flag` holds and 0 elsewhere, to be summed."""
    return sa.case((flag, 1), else_=0)


MANY = sa.func.count() > 1
"""For HAVING: groups of more than one row."""


def those(*questions: sa.Select[Any]) -> sa.Subquery:
    """Return the ids that any of some questions finds, to be joined with: the suspects, of whom alone a law is asked.

    A law about the sums of each item would group all rows, a million of them, in a table of its own. Questions that hardly
    any row answers follow the indexes, and cost a third. Each offender must be among the suspects; others may be.
    """
    named = (each.with_only_columns(each.selected_columns[0].label("id")) for each in questions)
    return sa.union(*named).subquery()


def none_as_0(column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Return 0 where an outer join found nothing."""
    return sa.func.coalesce(column, 0)

"""What a store needs of a database, whichever it is."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

import sqlalchemy as sa

from storage.writer import Pending, Settled

T = TypeVar("T")


class Database(Protocol):
    """One database with one holder. A store calls `commit` one at a time, `read` at any time."""

    async def open(self, now: float) -> None:
        """Make or migrate the tables and become their only writer; `now` is UTC epoch seconds.

        Raises StoreInUse, StoreTooNew, StoreForeign, StoreCorrupt, StoreError (bad address, no rights, no room) or
        StoreAway (it does not answer); nothing is written then. `close` is called in any case.
        """

    async def commit(self, group: Sequence[Pending], now: float) -> Settled:
        """Run the units in one transaction and commit it.

        A unit that raises is undone alone. An error of the database in passing (busy, deadlock, connection lost) has
        the whole run again up to five times, then the outcome of each unit is StoreAway. When the answer to a commit
        was lost, whether it holds is read from the database.
        """

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` on one consistent snapshot with every commit so far; it cannot write. Raises StoreAway, StoreCorrupt."""

    async def close(self) -> None:
        """Let go of everything. Safe to repeat."""


class Reader(Protocol):
    """Reads a store that others hold; each read sees one consistent snapshot and cannot write."""

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query`. Raises StoreAway (busy, away, or its tables are being made), StoreCorrupt."""

    def read_now(self, query: Callable[[sa.Connection], T]) -> T:
        """The same, waiting in the caller's thread."""

    async def close(self) -> None:
        """Safe to repeat."""

    def close_now(self) -> None:
        """The same, waiting in the caller's thread."""

"""Copy a whole store into an empty one, of whichever kind, and prove that nothing is different."""

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from storage import bulk, log
from storage.engines.opening import open_reader
from storage.errors import StoreError, StoreForeign
from storage.schema import AGENT
from storage.store import Store
from storage.transaction import Tx
from supervisors import Clock

PAGE = 500
"""Rows read and written at a time: with the largest facts some 100 MB."""
COPYING = AGENT._replace(name="copying")
"""The same tables under another version table: no agent takes them for a store before the copy is whole."""
OWN = frozenset({"lease"})
"""Tables that each store writes itself."""

Progress = Callable[[str, int, int], None]
"""Told the table, how many of its rows are done, and how many it has."""


class Sum(NamedTuple):
    """Rows of a table and the sum of their digests: equal sums, equal rows, in whatever order."""

    rows: int = 0
    digest: int = 0

    def plus(self, rows: list[tuple[Any, ...]]) -> "Sum":
        digests = (hashlib.blake2b(msgspec.json.encode(row), digest_size=16).digest() for row in rows)
        return Sum(
            self.rows + len(rows), (self.digest + sum(int.from_bytes(digest) for digest in digests)) % (1 << 128)
        )

    @property
    def hex(self) -> str:
        return f"{self.digest:032x}"


class Copied(NamedTuple):
    """A table whose rows are in both stores."""

    table: str
    rows: int
    digest: str


def tables() -> list[sa.Table]:
    """Return the tables that are copied, each after those that it refers to."""
    return [table for table in AGENT.metadata.sorted_tables if table.name not in OWN]


def page(connection: sa.Connection, table: sa.Table, after: int | None) -> list[tuple[Any, ...]]:
    """Return the next rows of a table behind the id `after` (None: from the beginning); [] when there is none."""
    key = list(table.primary_key)
    query = sa.select(table).order_by(*key)
    if len(key) == 1 and isinstance(key[0].type.as_generic(), sa.Integer):
        query = query.where(key[0] > after) if after is not None else query
        query = query.limit(PAGE)
    elif after is not None:
        return []  # a small one: it was read at once
    return [tuple(row) for row in connection.execute(query)]


def last_key(table: sa.Table, rows: list[tuple[Any, ...]]) -> int:
    """Return where to go on behind these rows."""
    key = rows[-1][list(table.c).index(next(iter(table.primary_key)))]
    return key if isinstance(key, int) else 0


def pages(connection: sa.Connection, table: sa.Table) -> Iterator[list[tuple[Any, ...]]]:
    """Yield all rows of a table, PAGE at a time."""
    after: int | None = None
    while rows := page(connection, table, after):
        yield rows
        after = last_key(table, rows)


def insert(connection: sa.Connection, table: sa.Table, rows: list[tuple[Any, ...]]) -> None:
    """Write rows as they were read."""
    names = [column.name for column in table.c]
    bulk.insert(connection, table, [dict(zip(names, row, strict=True)) for row in rows])


def count(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


async def copy(source_url: str, target_url: str, *, clock: Clock, progress: Progress) -> list[Copied]:
    """Copy a store into an empty one and compare every row; until that has succeeded no agent opens the target.

    The source is brought to this program's schema and held while it is read. A copy that was broken off is begun anew.
    Raises StoreInUse for a live source or target, StoreError for a source that is not there, a target that is not empty or a
    copy that differs, and what Store.open raises.
    """
    if source_url == target_url:
        raise StoreError("source and target are the same store")
    await _expect_tables(source_url)
    source = await Store.open(source_url, clock=clock)
    try:
        target = await _empty(target_url, clock)
        try:
            copied = [await _copy_table(source, target, table, progress) for table in tables()]
            last = await source.read(log.last)
            await target.write(lambda tx: log.go_on_after(tx, last))
            await target.write(_finish)
        finally:
            await target.close()
    finally:
        await source.close()
    return copied


async def _expect_tables(url: str) -> None:
    """Raise StoreError if there is nothing to copy: opening it would make an empty store of a misspelt name."""
    reader = open_reader(url, threads=1)
    try:
        if not await reader.read(lambda c: sa.inspect(c).get_table_names()):
            raise StoreError("the source of the copy is empty; expected the store that an agent has written")
    finally:
        await reader.close()


async def _empty(url: str, clock: Clock) -> Store:
    """Return an empty store that no agent takes for one; what a broken-off copy left is deleted."""
    try:
        target = await Store.open(url, COPYING, clock=clock)
    except StoreForeign as error:
        raise StoreError(f"the target of the copy is not empty: {error}") from None
    try:
        await target.write(_clear)
    except BaseException:
        await target.close()
        raise
    return target


def _clear(tx: Tx) -> None:
    for table in reversed(tables()):
        tx.connection.execute(table.delete())


async def _copy_table(source: Store, target: Store, table: sa.Table, progress: Progress) -> Copied:
    total = await source.read(lambda c: count(c, table))
    read = Sum()
    after: int | None = None
    progress(table.name, 0, total)
    while rows := await source.read(lambda c: page(c, table, after)):  # noqa: B023
        await target.write(lambda tx: insert(tx.connection, table, rows))
        read, after = read.plus(rows), last_key(table, rows)
        progress(table.name, read.rows, total)
    written = Sum()
    after = None
    while rows := await target.read(lambda c: page(c, table, after)):  # noqa: B023
        written, after = written.plus(rows), last_key(table, rows)
    if written != read or read.rows != total:
        raise StoreError(
            f"the copy differs: table {table.name} has {total} rows, {read.rows} were read ({read.hex}), {written.rows} are "
            f"in the copy ({written.hex}); run it again"
        )
    return Copied(str(table.name), total, read.hex)


def _finish(tx: Tx) -> None:
    """The one step that makes the copy a store."""
    tx.connection.exec_driver_sql(f"ALTER TABLE version_{COPYING.name} RENAME TO version_{AGENT.name}")

"""Connections to a store, set up so that a committed transaction survives a crash."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from storage.errors import StoreAway, StoreCorrupt, StoreError

T = TypeVar("T")
Connection = sa.Connection
"""What a question is a function of; rooms above pass it on and never look inside."""

PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=5000",
    "temp_store=MEMORY",
    "cache_size=-32768",
)
"""https://sqlite.org/pragma.html; FULL syncs the log at every commit, so that an acknowledged commit survives power loss."""


def database_file(url: str) -> Path:
    """Return the file of an SQLite URL; raise StoreError for another kind of store or none at all."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        raise StoreError(f"store: got {url!r}, expected a URL such as sqlite:///state/agent.db") from None
    if parsed.drivername not in ("sqlite", "sqlite+aiosqlite") or not parsed.database or parsed.database == ":memory:":
        raise StoreError(f"store: got {parsed.render_as_string()!r}, expected sqlite:///PATH")
    return Path(parsed.database)


def connect(path: Path, *, writer: bool) -> sa.Engine:
    """Return an engine; the writer begins with BEGIN IMMEDIATE, a reader cannot write."""
    place = f"file:{quote(str(path))}?{'' if writer else 'mode=ro&'}uri=true"
    engine = sa.create_engine(
        f"sqlite:///{place}",
        poolclass=sa.pool.QueuePool,
        pool_size=1 if writer else 4,
        max_overflow=0,
        connect_args={"check_same_thread": False},
    )
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin transactions of its own
        for pragma in PRAGMAS if writer else (*PRAGMAS[2:], "query_only=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def among(column: sa.ColumnElement[Any], ids: list[int] | None = None) -> sa.ColumnElement[bool]:
    """`column IN (ids)` with one parameter whatever the number of ids, so that the statement is compiled once.

    Without `ids` the parameter is called "ids" and takes what `listed` makes of them.
    """
    given = sa.bindparam("ids") if ids is None else listed(ids)
    rows = sa.func.json_each(given).table_valued("value")
    return column.in_(sa.select(sa.cast(rows.c.value, sa.BigInteger)))


def listed(ids: list[int]) -> str:
    """Return ids as the JSON list that `among` reads."""
    return f"[{','.join(map(str, ids))}]"


class Reader:
    """Reads a store that others write, in threads of its own; each read sees one consistent snapshot."""

    def __init__(self, path: Path, threads: int = 4) -> None:
        if not path.is_file():
            raise StoreError(f"no store at {path}; an agent that has run once leaves one")
        self._engine = connect(path, writer=False)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Run `query` on a snapshot; it cannot write."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, query)

    def read_now(self, query: Callable[[Connection], T]) -> T:
        """The same, in the caller's thread. Raises StoreAway (busy, or its tables are being made), StoreCorrupt."""
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except sa.exc.OperationalError as error:
            raise StoreAway(f"the store cannot be read: {error.orig}") from error
        except sa.exc.DatabaseError as error:
            raise StoreCorrupt(f"the store is damaged, or none: {error.orig}") from error

    async def close(self) -> None:
        """Safe to repeat."""
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()

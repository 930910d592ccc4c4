"""Connections to a store, set up so that a committed transaction survives a crash."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from storage.errors import StoreError

PRAGMAS = (
    "journal_mode=WAL",
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
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise StoreError(f"store: got {url!r}, expected sqlite:///PATH")
    return Path(parsed.database)


def connect(path: Path, *, writer: bool) -> AsyncEngine:
    """Return an engine: the writer has one connection and BEGIN IMMEDIATE, readers up to four and cannot write."""
    engine = create_async_engine(
        f"sqlite+aiosqlite:///{path}",
        pool_size=1 if writer else 4,
        max_overflow=0,
        poolclass=sa.pool.AsyncAdaptedQueuePool,
    )
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    @sa.event.listens_for(engine.sync_engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin transactions of its own
        cursor = connection.cursor()
        for pragma in PRAGMAS if writer else (*PRAGMAS[2:], "query_only=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def among(column: sa.ColumnElement[int], ids: list[int]) -> sa.ColumnElement[bool]:
    """`column IN (ids)` with one parameter whatever the number of ids, so that the statement is compiled once."""
    listed = sa.func.json_each("[" + ",".join(map(str, ids)) + "]").table_valued("value")
    return column.in_(sa.select(sa.cast(listed.c.value, sa.BigInteger)))

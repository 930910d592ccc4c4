"""SQLite: set up so that a committed transaction survives a crash, worked in threads of its own or in the caller."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import sqlalchemy as sa

from storage.engines.before import keep_before
from storage.engines.connection import Connection, Statements
from storage.errors import StoreAway, StoreCorrupt, StoreError, StoreInUse, named
from storage.lease import FileLock, Hold
from storage.migrate import is_current, revision, revisions, upgrade
from storage.schema import Schema
from storage.writer import Pending, Settled, Trouble, Writer

T = TypeVar("T")

PRAGMAS = (
    "synchronous=FULL",
    "foreign_keys=ON",
    "busy_timeout=1000",
    "temp_store=MEMORY",
    "cache_size=-32768",
)
"""https://sqlite.org/pragma.html; FULL syncs the log at every commit, so that an acknowledged commit survives power loss."""
NEW = ("auto_vacuum=INCREMENTAL",)
"""Lets room be given back bit by bit (storage/space.py); a file that is there already does not hear it, and would be written."""
READER = ("temp_store=MEMORY", "cache_size=-8192", "busy_timeout=5000", "query_only=ON")
"""Each of four readers has a cache of its own, of 8 MiB: with the writer's 32 they were half of the agent's memory on a large
store, and what is not in it the system has."""

AWAY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR}
PASSING = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_NOMEM}
"""https://sqlite.org/rescode.html; the extended codes have these in their lowest byte."""


OLDEST = (3, 33)
"""https://sqlite.org/lang_update.html#upfrom"""
LOOK_S = 0.3
"""How long a start may look for damage, in seconds: about 100 MB."""


def judge(error: BaseException) -> Trouble:
    """Return what an error means for its transaction."""
    if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, sqlite3.Error):
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if code in PASSING:
            return Trouble.PASSING
        if code in AWAY:
            return Trouble.AWAY
    return Trouble.OWN


def connect(path: Path | None, *, writer: bool, pragmas: Sequence[str] = ()) -> sa.Engine:
    """Return an engine on a file, or in memory; the writer begins with BEGIN IMMEDIATE, a reader cannot write.

    Raises StoreError if the library is too old.
    """
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreError(f"SQLite: got {sqlite3.sqlite_version}, expected {'.'.join(map(str, OLDEST))} or newer")
    place = f"file:{quote(str(path))}?{'' if writer else 'mode=ro&'}uri=true" if path else ":memory:"
    engine = sa.create_engine(
        f"sqlite:///{place}",
        poolclass=sa.pool.QueuePool,
        pool_size=1 if writer else 4,
        max_overflow=0,
        connect_args={"check_same_thread": False, "cached_statements": 1000},
    )
    begin = "BEGIN IMMEDIATE" if writer else "BEGIN"

    @sa.event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver would begin transactions of its own
        new = writer and not (path and path.exists() and path.stat().st_size)
        for pragma in (*(NEW if new else ()), *(PRAGMAS if writer else READER), *pragmas):
            connection.execute(f"PRAGMA {pragma}")

    def begin_transaction(dbapi_connection: Any) -> None:
        dbapi_connection.execute(begin)

    engine.dialect.do_begin = begin_transaction  # type: ignore[method-assign]  # an event's errors are not the database's
    return engine


class _Sqlite:
    """The work itself, in whatever thread it is called."""

    def __init__(self, path: Path | None, schema: Schema, pragmas: Sequence[str] = ()) -> None:
        self.path = path
        self.schema = schema
        self.engine = connect(path, writer=True, pragmas=pragmas)
        self.lock = FileLock(path) if path else None
        statements = Statements(self.engine.dialect)
        hold = Hold(schema.metadata.tables["lease"])
        self.writer = Writer(lambda: Connection(self.engine, statements), judge, hold)

    def start(self, now: float) -> None:
        try:
            if self.path and self.lock:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self.lock.acquire()
            connection = self.writer.first()
            current = is_current(connection, self.schema)
            connection.rollback()
            if self.path:
                look_through(_driver(connection))
                _driver(connection).execute("PRAGMA journal_mode=WAL")
            if not current:
                self._keep_before(connection)
                upgrade(connection, self.schema)
            self.writer.take(now)
        except StoreError as error:
            raise named(error, self.path) from error.__cause__
        except (sa.exc.DBAPIError, OSError) as error:
            raise _unusable(self.path, error) from error

    def _keep_before(self, connection: sa.Connection) -> None:
        """Keep a store whose schema is about to change; a new one is not worth it."""
        if self.path and (old := revision(connection, self.schema)):
            connection.rollback()
            keep_before(_driver(connection), self.path, f"{revisions(self.schema)[-1]}-from-{old}")

    def stop(self) -> None:
        self.writer.close()
        self.engine.dispose()
        if self.lock:
            self.lock.release()


class SqliteThreads:
    """A writer's thread and readers' threads, a whole unit or question at a time: the loop never waits for the database."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self._sqlite = _Sqlite(path, schema)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._reader: SqliteReader | None = None

    async def open(self, now: float) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._sqlite.start, now)
        assert self._sqlite.path
        self._reader = SqliteReader(self._sqlite.path)

    async def commit(self, group: Sequence[Pending], now: float) -> Settled:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._sqlite.writer.commit, group, now)

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        if self._reader is None:
            raise StoreError("the store is closed")
        return await self._reader.read(query)

    async def close(self) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._thread.shutdown()
        if self._reader is not None:
            self._reader.close_now()
            self._reader = None
        self._sqlite.stop()


class SqliteInline:
    """Statements run in the caller, with no thread at all: one seed gives one history. For simulations, not for agents.

    On a file (None: in memory, gone at `close`) that only the process protects: synchronous is off. One connection
    writes and reads, since nothing can come in between.
    """

    def __init__(self, path: Path | None, schema: Schema) -> None:
        self._sqlite = _Sqlite(path, schema, ("synchronous=OFF",))

    async def open(self, now: float) -> None:
        self._sqlite.start(now)

    async def commit(self, group: Sequence[Pending], now: float) -> Settled:
        return self._sqlite.writer.commit(group, now)

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        connection = self._sqlite.writer.ready()
        connection.begin()  # as a writer, which is refused to one that only queries
        _driver(connection).execute("PRAGMA query_only=ON")
        try:
            return query(connection)
        except sa.exc.DBAPIError as error:
            raise _unreadable(error) from error
        finally:
            connection.rollback()
            _driver(connection).execute("PRAGMA query_only=OFF")

    async def close(self) -> None:
        self._sqlite.stop()


class SqliteReader:
    """Reads a file that others write, in threads of its own."""

    def __init__(self, path: Path, threads: int = 4) -> None:
        if not path.is_file():
            raise StoreError(f"no store at {path}; an agent that has run once leaves one")
        self._engine = connect(path, writer=False)
        self._statements = Statements(self._engine.dialect)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="store-reader")

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.read_now, query)

    def read_now(self, query: Callable[[sa.Connection], T]) -> T:
        try:
            with Connection(self._engine, self._statements) as connection:
                return query(connection)
        except sa.exc.DatabaseError as error:
            raise _unreadable(error) from error

    async def close(self) -> None:
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        self._threads.shutdown()
        self._engine.dispose()


def look_through(driver: sqlite3.Connection, seconds: float = LOOK_S) -> None:
    """Read through the file for at most `seconds`; raise StoreCorrupt at the first thing that is wrong with its pages.

    A large file is only begun with: the agent reads all of it while it works. It is interrupted, since the check of
    all pages is one step of the database, after which alone a progress handler would be asked (SQLite before 3.41).
    """
    end = threading.Timer(seconds, driver.interrupt)
    end.start()
    try:
        ((found,),) = driver.execute("PRAGMA quick_check(1)").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
    else:
        if found != "ok":
            raise StoreCorrupt(f"it is damaged: {' '.join(found.split())}; restore it from a backup")
    finally:
        end.cancel()
        end.join()


def _driver(connection: sa.Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found


def _unreadable(error: sa.exc.DBAPIError) -> Exception:
    if isinstance(error, sa.exc.OperationalError):
        return StoreAway(f"the store cannot be read: {error.orig}")
    return StoreCorrupt(f"the store is damaged, or none: {error.orig}")


def _unusable(path: Path | None, error: sa.exc.DBAPIError | OSError) -> Exception:
    """Say what a failed opening means and what to do about it."""
    if isinstance(error, OSError):
        return StoreError(f"store {path}: {error.strerror or error}; expected a directory that can be written")
    if isinstance(error.orig, sqlite3.OperationalError):
        if "locked" in str(error.orig):
            return StoreInUse(f"store {path}: {error.orig}; another program has it open")
        return StoreError(f"store {path}: {error.orig}; expected a file that can be written, with room on its disk")
    if isinstance(error.orig, sqlite3.DatabaseError):
        return StoreCorrupt(f"store {path}: {error.orig}; restore it from a backup, or name another file")
    return error

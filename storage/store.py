"""The store: units of work in, one writer that commits them in groups, facts told after the commit."""

import asyncio
import contextlib
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from domain.events import Event
from storage import lease
from storage.engine import connect, database_file
from storage.errors import StoreAway, StoreCorrupt, StoreError, StoreInUse, StoreLost
from storage.migrate import upgrade
from storage.schema import AGENT, Schema
from storage.transaction import Tx, Unit
from supervisors import Clock, SystemClock

T = TypeVar("T")
Listener = Callable[[frozenset[type[Event]]], None]

GROUP = 100
"""Most units in one commit: the knee of commit time against rate (measured on both stores)."""


class _Pending:
    """A unit that waits for its commit."""

    __slots__ = ("cause", "outcome", "sender", "unit")

    def __init__(self, unit: Callable[[Tx], Any], sender: str, cause: int | None) -> None:
        self.unit = unit
        self.sender = sender
        self.cause = cause
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Store:
    """Everything that is remembered. Made by `open`; all methods belong to one event loop."""

    def __init__(self, clock: Clock, lock: lease.FileLock, writer: AsyncEngine, readers: AsyncEngine, schema: Schema) -> None:
        self.clock = clock
        self._schema = schema
        self._lock = lock
        self._writer_engine = writer
        self._readers = readers
        self._connection: AsyncConnection
        self._fence = 0
        self._waiting: deque[_Pending] = deque()
        self._work = asyncio.Event()
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self.commits = 0
        self.units = 0

    @classmethod
    async def open(cls, url: str, schema: Schema = AGENT, *, clock: Clock | None = None) -> "Store":
        """Open or make the store, migrate it and become its only writer.

        Raises StoreInUse, StoreTooNew, StoreForeign, StoreCorrupt or StoreError (bad URL, no rights); nothing is
        written then.
        """
        path = database_file(url)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = lease.FileLock(path)
            lock.acquire()
        except OSError as error:
            raise StoreError(f"store {path}: {error.strerror or error}; expected a directory that can be written") from error
        store = cls(clock or SystemClock(), lock, connect(path, writer=True), connect(path, writer=False), schema)
        try:
            await store._start()
        except BaseException as error:
            await store.close()
            if isinstance(error, sa.exc.DatabaseError) and isinstance(error.orig, sqlite3.DatabaseError):
                raise StoreCorrupt(f"store {path}: {error.orig}; restore it from a backup, or name another file") from error
            raise
        return store

    async def _start(self) -> None:
        self._connection = await self._writer_engine.connect()

        def prepare(connection: sa.Connection) -> int:
            upgrade(connection, self._schema)
            return lease.take(connection, self.clock.time()) if "lease" in self._schema.metadata.tables else 0

        self._fence = await self._connection.run_sync(prepare)
        await self._connection.commit()
        self._task = asyncio.create_task(self._write_groups(), name="store-writer")

    async def close(self) -> None:
        """Commit what waits, then let go of everything. Safe to repeat."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await self._task
            self._task = None
        if hasattr(self, "_connection"):
            with contextlib.suppress(Exception):
                await self._connection.close()
        await self._writer_engine.dispose()
        await self._readers.dispose()
        self._lock.release()

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the types of the facts after each commit. A hint: losing one costs a sweep, never work."""
        self._listeners.append(listener)

    async def write(self, unit: Callable[[Tx], T], *, sender: str = "", cause: int | None = None) -> T:
        """Run `unit` in a transaction and return its result once that is on disk.

        Units run one at a time in the order of their calls; several share a commit. An exception of the unit undoes it
        alone and is raised here. The unit may be run again (after another one of its group failed), so it must not
        change anything but the store. Raises StoreAway if the database is busy or full: then nothing was written.
        """
        if self._closing:
            raise StoreError("the store is closed")
        pending = _Pending(unit, sender, cause)
        self._waiting.append(pending)
        self._work.set()
        result: T = await pending.outcome
        return result

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` on a consistent snapshot; it cannot write."""
        async with self._readers.connect() as connection:
            return await connection.run_sync(query)

    async def _write_groups(self) -> None:
        while self._waiting or not self._closing:
            if not self._waiting:
                self._work.clear()
                await self._work.wait()
                continue
            group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
            group = [pending for pending in group if not pending.outcome.cancelled()]
            if group and not await self._commit(group):
                for pending in group:
                    await self._commit([pending])

    async def _commit(self, group: list[_Pending]) -> bool:
        """Commit the group and tell everybody; False = undone because one unit failed and the others deserve another try."""
        try:
            results, facts = await self._connection.run_sync(self._run, group)
            await self._connection.commit()
        except Exception as error:
            await self._connection.rollback()
            if len(group) > 1 and not isinstance(error, StoreLost):
                return False
            for pending in group:
                if not pending.outcome.done():
                    pending.outcome.set_exception(_explained(error))
            return True
        self.commits += 1
        self.units += len(group)
        for pending, result in zip(group, results, strict=True):
            if not pending.outcome.done():
                pending.outcome.set_result(result)
        if facts:
            for listener in self._listeners:
                listener(facts)
        return True

    def _run(self, connection: sa.Connection, group: list[_Pending]) -> tuple[list[Any], frozenset[type[Event]]]:
        if self._fence:
            lease.check(connection, self._fence)
        now = self.clock.time()
        results: list[Any] = []
        facts: set[type[Event]] = set()
        for pending in group:
            unit = Unit(connection, now, pending.sender, pending.cause)
            results.append(pending.unit(unit))
            facts |= unit.flush()
        return results, frozenset(facts)


def _explained(error: Exception) -> Exception:
    """Turn "come back later" answers of the database into StoreAway."""
    if isinstance(error, sa.exc.OperationalError):
        return StoreAway(f"the database does not take writes now: {error.orig}")
    return error


__all__ = ["Schema", "Store", "StoreError", "StoreInUse", "StoreLost", "Tx"]

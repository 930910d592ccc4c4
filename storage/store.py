"""The store: units of work in, one writer that commits them in groups, facts told after the commit."""

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa

from domain.events import Event
from storage import lease
from storage.engine import Reader, connect, database_file
from storage.errors import StoreCorrupt, StoreError, StoreInUse, StoreLost
from storage.migrate import is_current, upgrade
from storage.schema import AGENT, Schema
from storage.transaction import Tx
from storage.writer import Pending, Settled, commit
from supervisors import Clock, SystemClock

T = TypeVar("T")
Listener = Callable[[frozenset[type[Event]]], None]

GROUP = 100
"""Most units in one commit: the knee of commit time against rate (measured on both stores)."""

log = logging.getLogger("prodagent.store")


class Store:
    """Everything that is remembered. Made by `open`; all methods belong to one event loop.

    The database works in a thread of its own, a whole unit at a time, so that the loop never waits for it.
    """

    def __init__(self, path: Path, schema: Schema, clock: Clock) -> None:
        self.path = path
        self.clock = clock
        self.commits = 0
        self.units = 0
        self._schema = schema
        self._lock = lease.FileLock(path)
        self._fence = 0
        self._engine: sa.Engine | None = None
        self._connection: sa.Connection
        self._reader: Reader | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store-writer")
        self._waiting: deque[Pending] = deque()
        self._work = asyncio.Event()
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    @classmethod
    async def open(cls, url: str, schema: Schema = AGENT, *, clock: Clock | None = None) -> "Store":
        """Open or make the store, migrate it and become its only writer.

        Raises StoreInUse, StoreTooNew, StoreForeign, StoreCorrupt or StoreError (bad URL, no rights, no room); nothing
        is written then.
        """
        path = database_file(url)
        store = cls(path, schema, clock or SystemClock())
        try:
            await asyncio.get_running_loop().run_in_executor(store._thread, store._start)
        except BaseException as error:
            await store.close()
            raise _unusable(path, error) from error
        store._task = asyncio.create_task(store._write_groups(), name="store-writer")
        return store

    def _start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        self._engine = connect(self.path, writer=True)
        self._connection = self._engine.connect()
        current = is_current(self._connection, self._schema)
        self._connection.rollback()
        assert self._connection.connection.driver_connection is not None
        self._connection.connection.driver_connection.execute("PRAGMA journal_mode=WAL")
        if not current:
            upgrade(self._connection, self._schema)
        if "lease" in self._schema.metadata.tables:
            self._fence = lease.take(self._connection, self.clock.time())
        self._connection.commit()
        self._reader = Reader(self.path)

    async def close(self) -> None:
        """Commit what waits, then let go of everything. Safe to repeat."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await asyncio.to_thread(self._stop)

    def _stop(self) -> None:
        self._thread.shutdown()
        if self._reader is not None:
            self._reader.close_now()
        if self._engine is not None:
            if hasattr(self, "_connection"):
                self._connection.close()
            self._engine.dispose()
        self._lock.release()

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the types of the facts after each commit. A hint: losing one costs a sweep, never work."""
        self._listeners.append(listener)

    async def write(self, unit: Callable[[Tx], T], *, sender: str = "", cause: int | None = None) -> T:
        """Run `unit` in a transaction and return its result once that is on disk.

        Units run one at a time in the order of their calls, in the writer's thread; several share a commit. An exception
        of the unit undoes it alone and is raised here. The unit may be run again (after another one of its group failed),
        so it must not change anything but the store. Raises StoreAway if the database is busy or full: nothing was written.
        """
        if self._closing or self._task is None or self._task.done():
            raise StoreError("the store is closed")
        pending = Pending(unit, sender, cause)
        self._waiting.append(pending)
        self._work.set()
        result: T = await pending.outcome
        return result

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` on a consistent snapshot that holds every commit so far; it cannot write."""
        if self._reader is None:
            raise StoreError("the store is closed")
        return await self._reader.read(query)

    async def _write_groups(self) -> None:
        try:
            while self._waiting or not self._closing:
                if not self._waiting:
                    self._work.clear()
                    await self._work.wait()
                    continue
                group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
                if group := [pending for pending in group if not pending.outcome.cancelled()]:
                    await self._write_group(group)
        finally:
            for pending in self._waiting:
                if not pending.outcome.done():
                    pending.outcome.set_exception(StoreError("the writer has ended"))

    async def _write_group(self, group: list[Pending]) -> None:
        try:
            settled = await asyncio.get_running_loop().run_in_executor(
                self._thread, commit, self._connection, group, self.clock.time(), self._fence
            )
        except BaseException as error:
            log.exception("a group of %d units could not be settled", len(group))
            settled = Settled([StoreError(f"the writer failed: {error!r}")] * len(group), frozenset(), 0)
            if not isinstance(error, Exception):
                self._hand_out(group, settled)
                raise
        self._hand_out(group, settled)

    def _hand_out(self, group: list[Pending], settled: Settled) -> None:
        self.commits += settled.commits
        self.units += len(group)
        for pending, outcome in zip(group, settled.outcomes, strict=True):
            if pending.outcome.done():
                continue
            if isinstance(outcome, Exception):
                pending.outcome.set_exception(outcome)
            else:
                pending.outcome.set_result(outcome)
        if settled.facts:
            self._tell(settled.facts)

    def _tell(self, facts: frozenset[type[Event]]) -> None:
        for listener in self._listeners:
            try:
                listener(facts)
            except Exception:
                log.exception("a listener failed")


def _unusable(path: Path, error: BaseException) -> BaseException:
    """Say what a failed opening means and what to do about it."""
    if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, sqlite3.OperationalError):
        if "locked" in str(error.orig):
            return StoreInUse(f"store {path}: {error.orig}; another program has it open")
        return StoreError(f"store {path}: {error.orig}; expected a file that can be written, with room on its disk")
    if isinstance(error, sa.exc.DBAPIError) and isinstance(error.orig, sqlite3.DatabaseError):
        return StoreCorrupt(f"store {path}: {error.orig}; restore it from a backup, or name another file")
    if isinstance(error, OSError):
        return StoreError(f"store {path}: {error.strerror or error}; expected a directory that can be written")
    return error


__all__ = ["Schema", "Store", "StoreError", "StoreInUse", "StoreLost", "Tx"]

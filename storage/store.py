"""The store: units of work in, one writer that commits them in groups, facts told after the commit."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import sqlalchemy as sa

from domain.events import Event
from storage.engines.base import Database
from storage.engines.opening import open_database
from storage.errors import StoreAway, StoreError, StoreInUse, StoreLost
from storage.schema import AGENT, Schema
from storage.transaction import Tx
from storage.waiting import Waiting
from storage.writer import Pending, Settled
from supervisors import Clock, SystemClock

P = TypeVar("P")
T = TypeVar("T")
Listener = Callable[[frozenset[type[Event]]], None]

GROUP = 100
"""Most units in one commit: the knee of commit time against rate (measured on both stores)."""

log = logging.getLogger("prodagent.store")


class Store:
    """Everything that is remembered. Made by `open`; all methods belong to one event loop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.clock = clock
        self.commits = 0
        self.units = 0
        self._database = database
        self._waiting = Waiting(GROUP)
        self._work = asyncio.Event()
        self._listeners: list[Listener] = []
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._held = ""

    @classmethod
    async def open(
        cls, url: str, schema: Schema = AGENT, *, clock: Clock | None = None, database: Database | None = None
    ) -> "Store":
        """Open or make the store at `url`, or on a database of one's own, migrate it and become its only writer.

        Raises StoreInUse, StoreTooNew, StoreForeign, StoreCorrupt, StoreError (bad address, no rights, no room) or
        StoreAway (the server does not answer); nothing is written then.
        """
        store = cls(database or open_database(url, schema), clock or SystemClock())
        try:
            await store._database.open(store.clock.time())
        except BaseException:
            await store.close()
            raise
        store._task = asyncio.create_task(store._write_groups(), name="store-writer")
        return store

    async def close(self) -> None:
        """Commit what waits, then let go of everything. Safe to repeat."""
        self._closing = True
        self._work.set()
        if self._task is not None:
            await asyncio.wait([self._task])
        await self._database.close()

    async def abandon(self) -> None:
        """Let go of everything as a kill would: what waits is not written. For simulations."""
        self._closing = True
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._database.close()

    def hold(self, reason: str) -> None:
        """Take no further units until `free`: `write` raises StoreAway with this reason. What waits is still written."""
        self._held = reason

    def free(self) -> None:
        """Take units again. Safe to repeat."""
        self._held = ""

    def listen(self, listener: Listener) -> None:
        """Call `listener` with the types of the facts after each commit. A hint: losing one costs a sweep, never work."""
        self._listeners.append(listener)

    async def write(self, unit: Callable[[Tx], T], *, sender: str = "", cause: int | None = None) -> T:
        """Run `unit` in a transaction and return its result once that is on disk.

        Units run one at a time in the order of their calls, not in the caller's thread; several share a commit. An
        exception of the unit undoes it alone and is raised here. The unit may be run again (after another one of its group
        failed, or the database did), so it must not change anything but the store. Raises StoreAway if the database is
        away, busy or full: nothing was written; StoreUnsure if it went away during the commit and stayed away.
        """
        result: T = await self._add(Pending(unit, sender, cause))
        return result

    async def write_together(
        self, unit: Callable[[Tx, Sequence[P]], Sequence[T]], part: P, *, sender: str = "", patient: bool = True
    ) -> T:
        """As `write`, of what several do alike at the same time: `unit` is run once with the parts of all that wait, and
        returns a result for each. If that fails, it is run with each part alone.

        Facts then have what the senders' names have in common as their sender. While the writer is busy, parts wait up to
        half a second for others (storage/waiting.py); one that is not `patient` only goes with those that are there.
        """
        result: T = await self._add(Pending(unit, sender, None, part, patient=patient))
        return result

    def _add(self, pending: Pending) -> asyncio.Future[Any]:
        if self._closing or self._task is None or self._task.done():
            raise StoreError("the store is closed")
        if self._held:
            raise StoreAway(self._held)
        self._waiting.add(pending)
        self._work.set()
        return pending.outcome

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run `query` on a consistent snapshot that holds every commit so far; it cannot write."""
        if self._task is None or self._task.done():
            raise StoreError("the store is closed")
        return await self._database.read(query)

    async def _write_groups(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting or not self._closing:
                began = loop.time()
                if group := self._waiting.take(began, closing=self._closing):
                    await self._write_group(group)
                    self._waiting.done(group, began, loop.time())
                elif not self._closing:
                    await self._wait(self._waiting.pause(began))
        finally:
            for pending in self._waiting.clear():
                if not pending.outcome.done():
                    pending.outcome.set_exception(StoreError("the writer has ended"))

    async def _wait(self, pause: float | None) -> None:
        """Wait until something comes, or the pause (in seconds) is over."""
        self._work.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._work.wait()

    async def _write_group(self, group: list[Pending]) -> None:
        try:
            settled = await self._database.commit(group, self.clock.time())
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


__all__ = ["Schema", "Store", "StoreError", "StoreInUse", "StoreLost", "Tx"]

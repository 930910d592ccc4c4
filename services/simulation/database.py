"""The store of a simulated agent: a real SQLite file without threads, which outlives the agent and can be away."""

import asyncio
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from services.simulation.outside import Outside, at_once
from storage.engine import Connection
from storage.engines.sqlite import SqliteInline
from storage.errors import StoreAway, StoreError
from storage.schema import AGENT
from storage.writer import Pending, Settled

T = TypeVar("T")
STORE = "store"


class Disk:
    """Where the agent's database lies: one file in `directory`, written by one SQLite engine for many histories.

    The engine is kept because it knows all statements by then: compiling them took two fifths of a small history.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path = directory / "agent.db"
        self._template = directory / "template.db"
        self.engine = SqliteInline(self._path, AGENT)

    def format(self) -> None:
        """Begin with an empty store; its tables are made once and copied, as migrations take half a second."""
        if not self._template.exists():
            maker = SqliteInline(self._template, AGENT)
            at_once(maker.open(0.0))
            at_once(maker.close())
        for old in self.directory.glob("agent.db-*"):
            old.unlink()
        shutil.copyfile(self._template, self._path)


class SimulatedDatabase:
    """One life's connection to its disk; a life may end before each commit, and between a commit and its telling."""

    def __init__(self, disk: Disk, outside: Outside) -> None:
        self._engine = disk.engine
        self._outside = outside
        self._dropped = False
        self.commits = 0

    async def open(self, now: float) -> None:
        self._refuse_if_away()
        await self._engine.open(now)

    async def commit(self, group: Sequence[Pending], now: float) -> Settled:
        await asyncio.sleep(0)
        try:
            self._refuse_if_away()
        except StoreAway as away:
            return Settled([away] * len(group), frozenset(), 0)
        settled = await self._engine.commit(group, now)
        self.commits += settled.commits
        await asyncio.sleep(0)
        return settled

    async def read(self, query: Callable[[Connection], T]) -> T:
        self._refuse_if_dropped()
        return await self._engine.read(query)

    def ask(self, query: Callable[[Connection], T]) -> T:
        """Read; from anywhere."""
        return at_once(self.read(query))

    async def close(self) -> None:
        if not self._dropped:
            await self._engine.close()

    def connect(self) -> None:
        """Look into the store from outside of any life."""
        at_once(self._engine.open(self._outside.clock.time()))

    def drop(self) -> None:
        """Let go of the store as a dead process does: what was not committed is gone, nothing more is written."""
        at_once(self.close())
        self._dropped = True

    def _refuse_if_away(self) -> None:
        self._refuse_if_dropped()
        if STORE in self._outside.away:
            raise StoreAway("the database takes no writes (simulated)")

    def _refuse_if_dropped(self) -> None:
        if self._dropped:
            raise StoreError("this process is dead")

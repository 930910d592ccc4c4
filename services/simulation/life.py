"""One life of the agent: the real tree of actors on a simulated machine, from its start to its end or its kill."""

import asyncio
from collections.abc import Callable, Mapping
from enum import Enum
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pykka

from backends.batch.base import BatchError
from backends.prodmgr.base import ProdMgrError
from backends.prodmgr.fake import FakeProdMgr
from backends.storage_element.base import StorageError
from config.settings import Settings
from services.simulation.database import Disk, SimulatedDatabase
from services.simulation.gates import Gate, Line
from services.simulation.loop import Killed, LifeLoop, bury
from services.simulation.outside import MANAGER, AgentClock, Operator, Outside
from storage.store import Store
from supervisors import ActorSystem


class Parts(NamedTuple):
    """What an agent stands on; the same as in the real world, but each made of virtual stuff."""

    settings: Settings
    store: Store
    clock: AgentClock
    batches: Mapping[str, Any]
    storages: Mapping[str, Any]
    managers: Mapping[str, Any]
    scratch: Path
    chance: Random
    operator: Operator


Build = Callable[[Parts], ActorSystem]
"""Makes the agent's own tree on these parts; it is handed in, so that the tree simulated is the tree that runs."""


class End(Enum):
    """How a life ended."""

    OVER = "everything is done, or the time is over"
    KILLED = "killed"
    FAILED = "it ended by itself: it could not start, or its root supervisor gave up"


class Life:
    """Made for one `run`."""

    def __init__(self, outside: Outside, settings: Settings, disk: Disk, build: Build, number: int) -> None:
        self.outside = outside
        self.number = number
        self.system: ActorSystem | None = None
        self.database = SimulatedDatabase(disk, outside)
        self.steps = 0
        self.reason = ""
        self._settings = settings
        self._scratch = disk.directory
        self._build = build
        self._over: asyncio.Future[None] | None = None
        self.loop: LifeLoop | None = None
        self.on_commit: Callable[[], None] = lambda: None

    def run(self, begun: float, kill_after: int | None, prepare: Callable[["Life"], None]) -> End:
        """Live until killed, or until `end` is called; `prepare` is called when the loop is there."""
        seed = self.outside.seed * 1_000_003 + self.number
        loop = self.loop = LifeLoop(seed, now=begun, kill_after=kill_after)
        self.outside.truth.look = loop.time
        asyncio.set_event_loop(loop)
        try:
            prepare(self)
            return loop.run_until_complete(self._main())
        except Killed:
            return End.KILLED
        finally:
            ended = loop.time()
            self.outside.truth.look = lambda: ended
            self.steps = loop.steps
            self.outside.operator.hear(lives=False)
            self._forget_actors()
            self.database.drop()
            bury(loop)

    def end(self) -> None:
        """Stop in order; may be called from a timer."""
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _main(self) -> End:
        self._over = asyncio.get_running_loop().create_future()
        try:
            store = await Store.open("", clock=self.outside.clock, database=self.database)
            store.listen(lambda _: self.on_commit())
            self.system = self._build(self._parts(store))
            await self.system.start()
            self.outside.operator.hear(lives=True)
        except Exception as error:
            self.reason = f"it does not start: {error!r}"
            return End.FAILED
        ended: asyncio.Future[Any] = asyncio.ensure_future(self.system.finished())
        await asyncio.wait((ended, self._over), return_when=asyncio.FIRST_COMPLETED)
        if ended.done():
            self.reason = ended.result()
            return End.FAILED
        await self.system.stop(drain=0.0)
        await ended
        await store.close()
        return End.OVER

    def _parts(self, store: Store) -> Parts:
        outside = self.outside
        chance = Random(f"{outside.seed} agent {self.number}")  # noqa: S311

        def line(name: str, error: Callable[[str], Exception]) -> Line:
            return Line(name, outside, Random(f"{outside.seed} {name} {self.number}"), error)  # noqa: S311

        def batch(name: str) -> Gate:
            return Gate(outside.batches[name], line(f"target {name}", lambda text: BatchError(text, transient=True)))

        def storage(name: str) -> Gate:
            return Gate(outside.storages[name], line(f"storage {name}", _storage_error))

        manager = Gate(
            FakeProdMgr(outside.books, self._settings.agent.name),
            line(MANAGER, lambda text: ProdMgrError(text, transient=True)),
        )
        return Parts(
            settings=self._settings,
            store=store,
            clock=outside.clock,
            batches={name: batch(name) for name in outside.batches},
            storages={name: storage(name) for name in outside.storages},
            managers={MANAGER: manager},
            scratch=self._scratch,
            chance=chance,
            operator=outside.operator,
        )

    def _forget_actors(self) -> None:
        """Take the dead out of pykka's list, which is the process's."""
        if self.system is not None:
            for cell in self.system.cells():
                if cell.registered:
                    pykka.ActorRegistry.unregister(cell.ref)


def _storage_error(text: str) -> StorageError:
    return StorageError(text, kind="transient")

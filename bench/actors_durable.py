"""What is measured of messages that are rows: a fact committed, followed with a cursor, its effect committed."""

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path

from actors.opening import open_world
from actors.stage import Effect, Stage
from actors.world import World
from backends.opening import settings_of
from config.loader import Loaded, load
from domain.events import WorkflowsPaused, WorkflowsResumed
from storage.log import Logged
from storage.transaction import Tx
from supervisors import ActorSystem, ChildSpec, SupervisorSpec

GROUP = 100
"""Facts that are written at once."""


class Follower(Stage):
    """Follows facts with a cursor; each is answered by a write of its own, in one transaction with the cursor."""

    follows = (WorkflowsPaused,)

    def __init__(self, world: World, left: int) -> None:
        super().__init__(world)
        self.left = left
        self.done = asyncio.Event()

    async def on_fact(self, logged: Logged) -> Effect:
        """Count."""
        self.left -= 1
        if not self.left:
            self.done.set()
        ids = logged.fact.ids
        return lambda tx: tx.emit(WorkflowsResumed(ids=ids))


def announce(number: int, tx: Tx) -> None:
    """Write one fact."""
    tx.emit(WorkflowsPaused(ids=[number]))


def settings_in(directory: Path) -> Loaded:
    """Write and read the least that an agent needs."""
    path = directory / "agent.toml"
    site = '[sites.s.storage]\nkind = "memory"\n[sites.s.targets.t]\nkind = "simulated"\n'
    path.write_text('[agent]\nname = "bench"\n[admin]\nenabled = false\n' + site)
    return load(path, settings_of)


async def durable(count: int) -> tuple[float, float]:
    """Write facts, follow them with a cursor, write the effect of each; return CPU and wall seconds per fact."""
    followers: list[Follower] = []

    def start() -> Follower:
        followers.append(Follower(world, count))
        return followers[-1]

    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with open_world(settings_in(Path(directory))) as world:
            system = ActorSystem(SupervisorSpec("root", (ChildSpec("follower", start),)))
            world.store.listen(world.tell_hearers)
            await system.start()
            wall, spent = time.perf_counter(), time.process_time()
            for first in range(0, count, GROUP):
                numbers = range(first + 1, min(first + GROUP, count) + 1)
                await asyncio.gather(*[world.store.write(partial(announce, number)) for number in numbers])
            await followers[0].done.wait()
            spent, wall = time.process_time() - spent, time.perf_counter() - wall
            await system.stop()
    return spent / count, wall / count

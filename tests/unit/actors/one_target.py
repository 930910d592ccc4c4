"""A submitter and a tracker alone in the world, with a batch system that a test is free to make up."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from actors.submitter import Submitter
from actors.tracker import Tracker
from actors.world import World
from backends.batch.base import BatchError, Capabilities, Poll
from config.settings import Settings
from storage import jobs
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, ChildSpec, SupervisorSpec
from tests.unit.actors.ruling import SITES, HandClock
from tests.unit.storage.conftest import Campaign, make_spec

TARGET = "alps-batch"


class Mute:
    """A batch system without jobs, which may be away."""

    capabilities = Capabilities()
    away = True

    async def open(self) -> None:
        if self.away:
            raise BatchError("no route", transient=True)

    async def poll(self, _cursor: str) -> Poll:
        await self.open()
        return Poll(statuses=[], cursor="1", complete=True)


@asynccontextmanager
async def life(directory: Path, clock: HandClock, batch: Mute) -> AsyncIterator[tuple[World, Any]]:
    store = await Store.open(f"sqlite:///{directory}/agent.db", clock=clock)
    settings = msgspec.convert({"agent": {"name": "here"}, "sites": SITES}, Settings)
    batches: dict[str, Any] = {TARGET: batch}
    world = World(settings, store, clock, Sandboxes(directory), batches, {"alps": None}, {"alps": []}, {})  # type: ignore[dict-item]
    children = [ChildSpec(f"{kind.__name__.lower()}", partial(kind, world, TARGET)) for kind in (Submitter, Tracker)]
    system = ActorSystem(SupervisorSpec("root", tuple(children)), clock=clock)
    await system.start()
    try:
        yield world, system
    finally:
        await system.stop(drain=0)
        await store.close()


async def admitted(world: World, clock: HandClock) -> tuple[Campaign, int]:
    """Return a campaign of one job, which is queued, and its id."""
    campaign = Campaign(world.store, clock, make_spec(events=10, events_per_job=10))  # type: ignore[arg-type]
    campaign.write = campaign.store.write  # type: ignore[method-assign]  # this clock is not wound
    await campaign.request()
    (job,) = await campaign.cut()
    await world.store.write(lambda tx: jobs.admit(tx, [job]))
    return campaign, job

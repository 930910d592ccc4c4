"""An actor that does what a message makes of it, tried in every order that a virtual loop may draw."""

import asyncio

from supervisors import ActorSystem, AsyncioActor, ChildSpec, SupervisorSpec
from supervisors.testing import run_virtual
from tests.unit.supervisors.witness import QUICK

SEEDS = [None, *range(8)]


class Doer(AsyncioActor):
    """Awaits what a message makes of it; answers asks with that."""

    def __init__(self, born):
        super().__init__()
        self.number = next(born)

    async def on_receive(self, message):
        return await message(self)


async def started(*names, **options):
    born = iter(range(1, 1000))
    children = tuple(ChildSpec(name, lambda: Doer(born), **options) for name in names)
    system = ActorSystem(SupervisorSpec("root", children, backoff=QUICK, intensity=100))
    await system.start()
    for name in names:
        system.ref(name).tell(nothing)  # the first message of all goes the long way
    await asyncio.sleep(0.01)  # all of them sleep
    return system


async def nothing(_):
    """Do nothing."""


def tried(main, *, seeds=SEEDS):
    for seed in seeds:
        run_virtual(main, seed=seed)


async def awaited(reply):
    return await reply

"""An actor's implementation is replaced while it runs, or stays; debugging is switched on for one actor and ends."""

import asyncio
import logging

import pytest

from supervisors import ActorSystem, AsyncioActor, ChildSpec, SupervisorSpec
from supervisors.testing import run_virtual


class Old(AsyncioActor):
    async def on_receive(self, message):
        if message == "long":
            await asyncio.sleep(1.0)
        return f"old {message}"


class New(AsyncioActor):
    async def on_receive(self, message):
        return f"new {message}"


class Unfit(New):
    async def self_check(self):
        raise OSError("no way to the database")


class Stillborn(New):
    async def on_start(self):
        raise ValueError("no settings")


async def started():
    system = ActorSystem(SupervisorSpec("root", (ChildSpec("a", Old),), intensity=0))
    await system.start()
    return system, system.ref("a")


@pytest.mark.feature("OPS-05")
def test_another_implementation_takes_over_with_the_mailbox():
    async def main():
        system, ref = await started()
        asks = [ref.ask(text) for text in ("long", "x", "y")]
        await asyncio.sleep(0)
        await system.replace("a", New)
        assert [await ask for ask in asks] == ["old long", "new x", "new y"]
        await system.restart("a")
        assert await ref.ask("z") == "new z"
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("OPS-05")
@pytest.mark.parametrize(
    ("start", "error"),
    [(Unfit, OSError), (Stillborn, ValueError), (dict, TypeError), (lambda: 1 / 0, ZeroDivisionError)],
)
def test_the_old_one_stays_when_the_new_one_fails_its_check(start, error):
    async def main():
        system, ref = await started()
        asks = [ref.ask(text) for text in ("long", "x")]
        await asyncio.sleep(0)
        with pytest.raises(error):
            await system.replace("a", start)
        assert [await ask for ask in asks] == ["old long", "old x"]
        assert system.snapshot().actors[0].intensity_left == 0  # a refused replacement is no failure of the group
        assert system.snapshot().actors[1].state == "idle"
        await system.stop()

    run_virtual(main)


def test_an_unfit_one_does_not_disturb_the_instance_at_work():
    async def main():
        system, ref = await started()
        with pytest.raises(OSError, match="no way"):
            await system.replace("a", Unfit)
        assert system.snapshot().actors[1].restarts == 0
        assert ref.actor_class is Old
        with pytest.raises(ValueError, match="root of the tree"):
            await system.replace("root", New)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("OPS-05")
def test_debugging_one_actor_ends_by_itself(caplog):
    async def main():
        system, ref = await started()
        logger = logging.getLogger("prodagent.actor.a")
        before = logger.level
        system.debug("a")
        await ref.ask("x")
        assert "handled str in 0.000000 s: ok; 'x'" in caplog.text
        await asyncio.sleep(3000)
        system.debug("a")  # the hour begins anew
        await asyncio.sleep(3000)
        assert logger.level == logging.DEBUG
        await asyncio.sleep(601)
        assert logger.level == before
        assert not system.traces
        await system.stop()

    run_virtual(main)

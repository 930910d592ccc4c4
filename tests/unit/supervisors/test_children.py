"""Children that come and go, monitors, pauses, commands from inside."""

import asyncio

import pytest

from supervisors import (
    AsyncioActor,
    ChildSpec,
    Down,
    Restart,
    SupervisorSpec,
)
from supervisors.testing import Probe, run_virtual
from tests.unit.supervisors.witness import Log, Witness, family, running


def test_children_come_and_go():
    async def main():
        log = Log()
        system = await running(SupervisorSpec("root", (family(log, "a", name="g"),)))
        await system.add_child("g", ChildSpec("new", lambda: Witness(log)))
        assert await system.ref("new").ask("who") == 1
        with pytest.raises(ValueError, match="duplicate name 'a'"):
            await system.add_child("root", ChildSpec("a", Probe))
        with pytest.raises(ValueError, match="'a' is an actor"):
            await system.add_child("a", ChildSpec("x", Probe))
        await system.add_child("root", family(log, "deep", name="h"))
        assert system.names() == ("a", "new", "deep")
        await system.remove_child("h")
        await system.remove_child("new")
        assert system.names() == ("a",)
        with pytest.raises(KeyError, match="did you mean 'a'"):
            system.ref("aa")
        await system.stop()

    run_virtual(main)


def test_a_child_that_cannot_start_is_not_added():
    async def main():
        class Broken(AsyncioActor):
            async def on_start(self):
                raise ValueError("bad settings")

        log = Log()
        system = await running(family(log, "a"))
        with pytest.raises(ValueError, match="bad settings"):
            await system.add_child("root", ChildSpec("broken", Broken))
        assert system.names() == ("a",)
        assert system.snapshot().actors[0].intensity_left == 5
        await system.stop()

    run_virtual(main)


def test_an_actor_may_restart_remove_and_stop_from_inside():
    async def main():
        class Operator(AsyncioActor):
            async def on_receive(self, message):
                if message == "stop":
                    await self.system.stop()
                elif message == "restart me":
                    await self.system.restart(self.name)
                else:
                    await self.system.remove_child(message)

        log = Log()
        system = await running(SupervisorSpec("root", (*family(log, "a", "b").children, ChildSpec("op", Operator))))
        system.ref("op").tell("a")
        await asyncio.sleep(1)
        assert system.names() == ("b", "op")
        system.ref("op").tell("stop")
        assert await system.finished() == "stopped"
        assert log.of("stop") == ["a", "b"]

    run_virtual(main)


def test_pause_and_resume():
    async def main():
        log = Log()
        system = await running(family(log, "a", "b"))
        system.pause("a")
        system.ref("a").tell("waits")
        await asyncio.sleep(10)
        assert system.snapshot().actors[1].state == "paused"
        assert log.of("handled") == []
        system.resume("a")
        assert await system.ref("a").ask("who") == 1
        system.pause("root")
        await asyncio.sleep(1)
        assert [actor.state for actor in system.snapshot().actors[1:]] == ["paused", "paused"]
        await system.stop()

    run_virtual(main)


def test_monitors_hear_of_the_end_even_afterwards():
    async def main():
        class Watcher(Probe):
            async def on_receive(self, message):
                if isinstance(message, str):
                    self.monitor(self.system.ref(message))
                else:
                    await super().on_receive(message)

        log = Log()
        options = {"a": {"redeliver": 0}, "b": {"restart": Restart.TRANSIENT}}
        tree = SupervisorSpec("root", (*family(log, "a", "b", children=options).children, ChildSpec("w", Watcher)))
        system = await running(tree)
        watcher = system.ref("w")._actor_weakref()
        system.ref("w").tell("a")
        system.ref("w").tell("b")
        system.ref("a").tell(ValueError("crash"))  # restarted: nobody is told
        await system.ref("b").stop()
        assert await watcher.expect(1) == [Down("b", "stopped")]
        system.ref("w").tell("b")
        assert len(await watcher.expect(2)) == 2
        await system.remove_child("a")
        assert (await watcher.expect(3))[2] == Down("a", "removed")
        await system.stop()

    run_virtual(main)

"""What keeps a tree from starting, and what does not."""

import asyncio

import pytest

from supervisors import (
    ActorSystem,
    AsyncioActor,
    ChildSpec,
    SupervisorSpec,
    Transient,
)
from supervisors.testing import Probe, run_virtual
from tests.unit.supervisors.witness import Log, Witness, family, running


@pytest.mark.feature("PA-001")
def test_what_cannot_start_is_refused_with_the_reason():
    async def main():
        log = Log()

        class Broken(AsyncioActor):
            async def on_start(self):
                raise ValueError("no such host")

        system = ActorSystem(SupervisorSpec("root", (*family(log, "a").children, ChildSpec("broken", Broken))))
        with pytest.raises(Exception, match="broken did not start: ValueError: no such host"):
            await system.start()
        assert log.of("stop") == ["a"]
        assert "no such host" in await system.finished()

    run_virtual(main)


def test_a_factory_that_fails_is_a_failure_of_its_actor():
    async def main():
        def factory():
            raise KeyError("settings")

        system = ActorSystem(SupervisorSpec("root", (ChildSpec("broken", factory),)))
        with pytest.raises(Exception, match="KeyError: 'settings'"):
            await system.start()

    run_virtual(main)


def test_an_instance_lives_once():
    async def main():
        actor = Probe()
        system = await running(SupervisorSpec("root", (ChildSpec("a", lambda: actor, redeliver=0),), intensity=1))
        system.ref("a").stop()
        assert "earlier life" in await system.finished()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_the_start_waits_for_the_outside_world():
    async def main():
        log, tries = Log(), []

        class Database(Witness):
            async def on_start(self):
                tries.append(self.clock.monotonic())
                if len(tries) < 12:
                    raise Transient("database away")
                await super().on_start()

        tree = SupervisorSpec("root", (ChildSpec("db", lambda: Database(log)), *family(log, "a").children))
        system = await running(tree)
        assert log.of("start") == ["db", "a"]
        assert system.clock.monotonic() > 100
        assert system.snapshot().actors[0].intensity_left == 5
        await system.stop()

    run_virtual(main)


def test_an_optional_actor_does_not_hold_up_the_start():
    async def main():
        log = Log()

        class Web(AsyncioActor):
            async def on_start(self):
                raise OSError("port taken")

        system = await running(
            SupervisorSpec("root", (ChildSpec("web", Web, essential=False), *family(log, "a").children))
        )
        assert log.of("start") == ["a"]
        await asyncio.sleep(60)
        assert system.snapshot().actors[1].state == "parked"
        await system.stop()

    run_virtual(main)

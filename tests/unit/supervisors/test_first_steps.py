"""The tree starts, serves, restarts, escalates and stops."""

import pykka
import pytest

from supervisors import (
    ActorSystem,
    AskCycle,
    AsyncioActor,
    ChildSpec,
    SupervisorSpec,
    Tick,
    Transient,
)
from supervisors.testing import Probe, run_virtual


class Echo(AsyncioActor):
    made = 0

    def __init__(self):
        super().__init__()
        Echo.made += 1
        self.number = Echo.made

    async def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        return self.number, message


def tree(*children, **options):
    return SupervisorSpec("root", tuple(children), **options)


@pytest.mark.feature("PA-001", "PA-013")
def test_start_ask_stop():
    async def main():
        system = ActorSystem(tree(ChildSpec("echo", Echo)))
        await system.start()
        assert (await system.ref("echo").ask("hello"))[1] == "hello"
        with pytest.raises(ValueError, match="bad"):
            await system.ref("echo").ask(ValueError("bad"))
        await system.stop()
        assert await system.finished() == "stopped"
        with pytest.raises(pykka.ActorDeadError):
            await system.ref("echo").ask("late")

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_a_fresh_instance_serves_behind_the_same_ref():
    async def main():
        system = ActorSystem(tree(ChildSpec("echo", Echo)))
        await system.start()
        ref = system.ref("echo")
        first, _ = await ref.ask(1)
        ref.tell(ValueError("crash"))
        second, _ = await ref.ask(2)
        assert second > first
        third, _ = await ref.ask(3)
        assert third > second or third == second
        assert [letter.reason for letter in system.dead_letters] == ["killed-its-actor"]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_root_over_its_budget_ends_the_system():
    async def main():
        system = ActorSystem(tree(ChildSpec("echo", Echo)))
        await system.start()
        for number in range(6):
            system.ref("echo").tell(ValueError(f"crash {number}"))
        assert "more than 5 restarts" in await system.finished()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_transient_faults_do_not_spend_the_budget():
    async def main():
        faults = iter([Transient("database away")] * 20)

        class Flaky(AsyncioActor):
            async def on_receive(self, message):
                for fault in faults:
                    raise fault
                return message

        system = ActorSystem(tree(ChildSpec("flaky", Flaky)))
        await system.start()
        system.ref("flaky").tell("work")
        assert await system.ref("flaky").ask("after", timeout=None) == "after"
        assert system.clock.monotonic() > 300
        assert not len(system.dead_letters)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-015")
def test_ticks():
    async def main():
        class Ticking(Probe):
            async def on_start(self):
                self.tick("look", 10.0, first=0.0)

        system = ActorSystem(tree(ChildSpec("ticking", Ticking)))
        await system.start()
        actor = system.ref("ticking")._actor_weakref()
        assert await actor.expect(5) == [Tick("look")] * 5
        assert 36 <= system.clock.monotonic() <= 44
        system.tick_now("ticking", "look")
        await actor.expect(6)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-013")
def test_ask_cycles_are_refused():
    async def main():
        class Relay(AsyncioActor):
            def __init__(self, other):
                super().__init__()
                self.other = other

            async def on_receive(self, message):
                return await self.system.ref(self.other).ask(message)

        system = ActorSystem(tree(ChildSpec("a", lambda: Relay("b")), ChildSpec("b", lambda: Relay("a"))))
        await system.start()
        with pytest.raises(AskCycle, match="a -> b -> a"):
            await system.ref("a").ask("x")
        await system.stop()

    run_virtual(main)


def test_duplicate_names_are_refused():
    with pytest.raises(ValueError, match="duplicate name 'x'"):
        ActorSystem(tree(ChildSpec("x", Echo), SupervisorSpec("g", (ChildSpec("x", Echo),))))

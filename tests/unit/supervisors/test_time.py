"""Timers and ticks."""

import asyncio
import itertools

import pytest

from supervisors import (
    ActorSystem,
    AsyncioActor,
    ChildSpec,
    Escalated,
    SupervisorSpec,
)
from supervisors.testing import Probe, VirtualClock, run_virtual
from tests.unit.supervisors.witness import running


def test_timers_are_replaced_cancelled_and_die_with_their_instance():
    async def main():
        class Timed(Probe):
            async def on_receive(self, message):
                if message == "set":
                    self.after(5, "late", key="k")
                    self.after(6, "other")
                    self.after(7, "replaced", key="k")
                elif message == "cancel":
                    assert self.cancel_timer("k")
                    assert not self.cancel_timer("k")
                elif message == "crash":
                    raise ValueError(message)
                else:
                    got.append(message)

        got = []
        system = await running(SupervisorSpec("root", (ChildSpec("a", Timed, redeliver=0),)))
        ref = system.ref("a")
        ref.tell("set")
        await asyncio.sleep(10)
        assert got == ["other", "replaced"]
        ref.tell("set")
        ref.tell("cancel")
        await asyncio.sleep(10)
        assert got == ["other", "replaced", "other"]
        ref.tell("set")
        ref.tell("crash")
        await asyncio.sleep(10)
        assert len(got) == 3
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-015")
def test_ticks_go_on_when_their_handler_raises():
    async def main():
        times = []

        class Raising(AsyncioActor):
            async def on_start(self):
                self.tick("look", 10.0)

            async def on_receive(self, message):
                times.append(self.clock.monotonic())
                raise ValueError("every time")

        system = await running(SupervisorSpec("root", (ChildSpec("a", Raising),), intensity=1000))
        await asyncio.sleep(600)
        assert len(times) >= 15  # the pauses between the restarts grow to 30 s
        assert all(8.9 < later - earlier < 50 for earlier, later in itertools.pairwise(times))
        assert not system.dead_letters.total
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-015")
def test_a_new_interval_counts_from_the_next_tick():
    async def main():
        times = []

        class Ticking(AsyncioActor):
            async def on_start(self):
                self.tick("look", 100.0)

            async def on_receive(self, message):
                times.append(self.clock.monotonic())
                self.tick("look", 1.0)

        system = await running(SupervisorSpec("root", (ChildSpec("a", Ticking),)))
        await asyncio.sleep(1)
        with pytest.raises(KeyError, match="no tick 'lok'"):
            system.tick_now("a", "lok")
        (tick,) = system.snapshot().actors[1].ticks
        assert (tick.name, tick.every) == ("look", 100.0)
        await asyncio.sleep(112)
        assert 90 <= times[0] <= 110
        await asyncio.sleep(150)
        assert times[1] - times[0] >= 90  # that one was on its way already
        assert len(times) > 20
        assert all(0.9 <= later - earlier <= 1.1 for earlier, later in itertools.pairwise(times[1:]))
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("REL-08")
@pytest.mark.parametrize("jump", [86_400.0, -86_400.0])
def test_a_jump_of_the_wall_clock_moves_no_timer_and_no_deadline(jump):
    """A day forward or back: nothing ends early, nothing is late (all waits are on the loop's own clock)."""

    class Waits(Probe):
        async def on_start(self):
            self.after(10.0, "timer")

        async def on_receive(self, message):
            if message == "slow":
                await asyncio.sleep(20.0)
            return await super().on_receive(message)

    async def main():
        loop = asyncio.get_running_loop()
        clock = VirtualClock(loop)
        system = ActorSystem(
            SupervisorSpec("root", (ChildSpec("waits", Waits, handler_deadline=30.0),)), clock=clock, seed=1
        )
        await system.start()
        ref, begun = system.ref("waits"), loop.time()
        reply = ref.ask("slow", timeout=25.0)
        clock.wall_offset = jump
        await reply
        assert loop.time() - begun == pytest.approx(20.0)
        await system.instance("waits").expect(2)
        assert system.instance("waits").messages == ["slow", "timer"]
        assert loop.time() - begun == pytest.approx(20.0), "the timer had come due while the handler worked"
        assert system.snapshot().actors[1].restarts == 0
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-010")
def test_a_negative_delay_is_refused():
    class Hasty(AsyncioActor):
        async def on_start(self):
            self.after(-1.0, "before now")

    async def main():
        system = ActorSystem(SupervisorSpec("root", (ChildSpec("hasty", Hasty),)))
        with pytest.raises(Escalated, match=r"the delay must not be negative, got -1.0"):
            await system.start()

    run_virtual(main)

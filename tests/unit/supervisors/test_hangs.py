"""Handlers and asks that never end."""

import asyncio
from typing import ClassVar

import pykka
import pytest

from supervisors import (
    AsyncioActor,
    ChildSpec,
    SupervisorSpec,
)
from supervisors.testing import Probe, run_virtual
from tests.unit.supervisors.witness import Log, family, running


@pytest.mark.feature("PA-003")
def test_an_overdue_handler_is_shown_cancelled_and_its_actor_restarted():
    async def main():
        log = Log()
        options = {"a": {"handler_deadline": 30.0, "redeliver": 1}}
        system = await running(family(log, "a", "b", children=options))
        system.ref("a").tell(1000.0)
        assert await system.ref("a").ask("who", timeout=None) == 3
        assert 60 <= system.clock.monotonic() < 61
        failure = system.snapshot().actors[1].last_failure
        assert failure.type == "HandlerOverdue"
        assert "await asyncio.sleep(message)" in failure.traceback
        assert [letter.tries for letter in system.dead_letters] == [2]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003")
def test_a_handler_that_refuses_to_be_cancelled_is_left_behind():
    async def main():
        log = Log()
        options = {"a": {"handler_deadline": 10.0, "redeliver": 0, "shutdown": 2.0}}
        system = await running(family(log, "a", children=options))
        ref = system.ref("a")
        ref.tell("stubborn")
        assert await ref.ask("who", timeout=None) == 2
        assert system.clock.monotonic() == pytest.approx(12)
        await asyncio.sleep(5000)
        assert log.of("outlived") == ["a"]
        assert await ref.ask("who") == 2
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003")
def test_deadlines_by_message_type():
    async def main():
        class Patient(Probe):
            deadlines: ClassVar = {float: 500.0}

            async def on_receive(self, message):
                await asyncio.sleep(400)
                await super().on_receive(message)

        system = await running(SupervisorSpec("root", (ChildSpec("a", Patient, redeliver=0),)))
        system.ref("a").tell(1.0)
        actor = system.ref("a")._actor_weakref()
        await actor.expect(1, within=500)
        system.ref("a").tell(1)
        await asyncio.sleep(31)
        assert system.snapshot().actors[1].last_failure.type == "HandlerOverdue"
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003", "PA-013")
@pytest.mark.parametrize("raises", [False, True])
def test_an_instance_left_behind_answers_nobody(raises):
    async def main():
        instances = []

        class Stubborn(AsyncioActor):
            async def on_receive(self, message):
                instances.append(self)
                if len(instances) > 1:
                    await asyncio.sleep(5)
                    return "fresh"
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    await asyncio.sleep(3)
                if raises:
                    raise ValueError("left behind")
                return "left behind"

        spec = ChildSpec("a", Stubborn, handler_deadline=10.0, shutdown=2.0)
        system = await running(SupervisorSpec("root", (spec,)))
        assert await system.ref("a").ask("x", timeout=None) == "fresh"
        assert system.clock.monotonic() == pytest.approx(17)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-007")
def test_every_open_ask_ends_at_its_own_deadline():
    async def main():
        class Deaf(AsyncioActor):
            async def on_receive(self, message):
                await asyncio.sleep(1000)

        system = await running(SupervisorSpec("root", (ChildSpec("a", Deaf, handler_deadline=None),)))
        ended = []

        async def ask(timeout):
            with pytest.raises(pykka.Timeout):
                await system.ref("a").ask("x", timeout=timeout)
            ended.append(system.clock.monotonic())

        async with asyncio.TaskGroup() as asks:
            for timeout in (10.0, 3.0, 10.0, 10.0):  # asked at 0, 1, 2, 3
                asks.create_task(ask(timeout))
                await asyncio.sleep(1.0)
        assert ended == pytest.approx([4, 10, 12, 13], abs=0.02)
        await system.stop(drain=0)

    run_virtual(main)

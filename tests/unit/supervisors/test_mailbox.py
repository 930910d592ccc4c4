"""Mailboxes: order, levels, bounds, wake-ups, dead letters."""

import asyncio

import pykka
import pytest

from supervisors import (
    ActorSystem,
    AsyncioActor,
    ChildSpec,
    MailboxFull,
    MailboxOptions,
    Overflow,
    Priority,
    SupervisorSpec,
    Tick,
)
from supervisors.testing import Probe, run_virtual


class Gate(Probe):
    """Handles nothing before the gate opens."""

    def __init__(self, gate):
        super().__init__()
        self.gate = gate

    async def on_receive(self, message):
        await self.gate.wait()
        await super().on_receive(message)


async def gated(**options):
    gate = asyncio.Event()
    actors = []

    def make():
        actors.append(Gate(gate))
        return actors[-1]

    system = ActorSystem(SupervisorSpec("root", (ChildSpec("gate", make, mailbox=MailboxOptions(**options)),)))
    await system.start()
    ref = system.ref("gate")
    ref.tell("first")
    await asyncio.sleep(0.001)  # virtual: the first message is at the gate
    return system, ref, gate, actors


@pytest.mark.feature("PA-010")
def test_order_is_kept_within_a_level():
    async def main():
        system, ref, gate, actors = await gated()
        for number in range(500):
            ref.tell(number)
        gate.set()
        assert await actors[0].expect(501) == ["first", *range(500)]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-010")
def test_urgent_goes_first_and_nobody_starves():
    async def main():
        system, ref, gate, actors = await gated(capacity=10_000)
        for number in range(1000):
            ref.tell(("bulk", number), priority=Priority.BULK)
            ref.tell(("normal", number))
            ref.tell(("urgent", number), priority=Priority.URGENT)
        gate.set()
        seen = (await actors[0].expect(3001))[1:]
        first = [level for level, _ in seen[:1000]]
        assert first.count("bulk") == 100
        assert first.count("normal") == 100
        for level in ("bulk", "normal", "urgent"):
            assert [number for name, number in seen if name == level] == list(range(1000))
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-010", "PA-011")
def test_equal_wake_ups_collapse_into_one():
    async def main():
        system, ref, gate, actors = await gated()
        for _ in range(10_000):
            ref.tell("look", unique=True)
        assert system.snapshot().actors[1].depth == 1
        gate.set()
        assert await actors[0].expect(2) == ["first", "look"]
        ref.tell("look", unique=True)
        await actors[0].expect(3)
        assert system.snapshot().actors[1].collapsed == 9_999
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-011")
@pytest.mark.parametrize("overflow", [Overflow.BLOCK, Overflow.REJECT])
def test_a_full_mailbox_refuses(overflow):
    async def main():
        system, ref, gate, actors = await gated(capacity=3, overflow=overflow)
        for number in range(3):
            ref.tell(number)
        with pytest.raises(MailboxFull, match="gate: 3 messages wait at level NORMAL"):
            ref.tell("too much")
        with pytest.raises(MailboxFull):
            await ref.ask("too much")
        with pytest.raises(MailboxFull):
            ref.tell("wake", unique=True)
        ref.tell("urgent", priority=Priority.URGENT)  # another level has its own room
        gate.set()
        await actors[0].expect(5)
        ref.tell("wake", unique=True)
        await actors[0].expect(6)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-011")
def test_dropping_the_oldest():
    async def main():
        system, ref, gate, actors = await gated(capacity=3, overflow=Overflow.DROP_OLDEST)
        for number in range(5):
            ref.tell(number)
        assert [(letter.message, letter.reason) for letter in system.dead_letters] == [(0, "dropped"), (1, "dropped")]
        gate.set()
        assert await actors[0].expect(4) == ["first", 2, 3, 4]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-011")
def test_newcomers_become_dead_letters():
    async def main():
        system, ref, gate, actors = await gated(capacity=3, overflow=Overflow.DEAD_LETTER)
        for number in range(5):
            ref.tell(number)
        with pytest.raises(pykka.ActorDeadError):
            await ref.ask("no room")
        assert [letter.message for letter in system.dead_letters] == [3, 4, "no room"]
        assert system.dead_letters.counts["gate", "refused"] == 3
        gate.set()
        await actors[0].expect(4)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-011")
@pytest.mark.parametrize("seed", range(5))
def test_back_pressure_keeps_memory_flat_and_order(seed):
    async def main():
        system, ref, gate, actors = await gated(capacity=10)
        gate.set()

        async def produce(name):
            for number in range(200):
                await ref.send((name, number))

        await asyncio.gather(*[produce(name) for name in "abcde"])
        seen = (await actors[0].expect(1001))[1:]
        for name in "abcde":
            assert [number for sender, number in seen if sender == name] == list(range(200))
        assert system.snapshot().actors[1].high_water <= 10
        await system.stop()

    run_virtual(main, seed=seed)


def test_a_cancelled_sender_gives_its_room_away():
    async def main():
        system, ref, gate, actors = await gated(capacity=1)
        ref.tell("fills")
        senders = [asyncio.create_task(ref.send(number)) for number in range(3)]
        await asyncio.sleep(0.001)
        gate.set()
        senders[0].cancel()
        await asyncio.wait(senders)
        assert sorted((await actors[0].expect(4))[2:]) == [1, 2]
        await system.stop()

    run_virtual(main, seed=None)


def test_room_given_to_a_sender_that_is_cancelled_goes_to_the_next():
    async def main():
        class Canceller(Probe):
            async def on_receive(self, message):
                await super().on_receive(message)
                if message == "first":
                    await gate.wait()
                if message == "fills":
                    senders[0].cancel()  # it has just been given room

        gate = asyncio.Event()
        options = MailboxOptions(capacity=1)
        system = ActorSystem(SupervisorSpec("root", (ChildSpec("gate", Canceller, mailbox=options),)))
        await system.start()
        ref = system.ref("gate")
        ref.tell("first")
        await asyncio.sleep(0.001)
        ref.tell("fills")
        senders = [asyncio.create_task(ref.send(number)) for number in range(3)]
        await asyncio.sleep(0.001)
        gate.set()
        assert await ref._actor_weakref().expect(4) == ["first", "fills", 1, 2]
        await asyncio.wait(senders)
        await system.stop()

    run_virtual(main, seed=None)


def test_senders_to_a_dying_actor_are_told():
    async def main():
        system, ref, gate, _ = await gated(capacity=1)
        ref.tell("fills")
        sender = asyncio.create_task(ref.send("waits"))
        await asyncio.sleep(0.001)
        gate.set()
        await system.remove_child("gate")
        with pytest.raises(pykka.ActorDeadError):
            await ref.ask("late")
        await asyncio.wait({sender})
        await system.stop()

    run_virtual(main)


def test_stop_comes_after_all_that_was_sent_before():
    async def main():
        class Slow(Probe):
            async def on_receive(self, message):
                await asyncio.sleep(1)
                await super().on_receive(message)

        ref = Slow.start()
        actor = ref._actor_weakref()
        for number in range(30):
            ref.tell(number, priority=Priority(number % 3))
        stopped = ref.stop()
        ref.tell("after")
        late = ref.ask("after", timeout=None)
        assert await stopped is True
        assert not ref.is_alive()
        assert sorted(actor.messages) == list(range(30))
        with pytest.raises(pykka.ActorDeadError):
            await late
        assert await ref.stop() is False

    run_virtual(main)


@pytest.mark.feature("PA-015")
def test_at_most_one_tick_waits():
    async def main():
        class Busy(Probe):
            async def on_start(self):
                self.tick("look", 1.0)

            async def on_receive(self, message):
                await super().on_receive(message)
                if message == "long":
                    await self.system.clock_signal.wait()

        system = ActorSystem(SupervisorSpec("root", (ChildSpec("busy", Busy, handler_deadline=None),)))
        system.clock_signal = asyncio.Event()
        await system.start()
        system.ref("busy").tell("long")
        await asyncio.sleep(20)
        assert system.snapshot().actors[1].depth == 1
        system.clock_signal.set()
        actor = system.ref("busy")._actor_weakref()
        await actor.expect(2)
        assert actor.messages == ["long", Tick("look")]
        await system.stop()

    run_virtual(main)


def test_dead_letters_can_be_taken_and_replayed():
    async def main():
        system, ref, gate, actors = await gated(capacity=1, overflow=Overflow.DEAD_LETTER)
        for number in range(3):
            ref.tell(number)
        gate.set()
        await actors[0].expect(2)
        assert [letter.message for letter in system.dead_letters.fresh] == [1, 2], "for who keeps them for longer"
        for letter in system.dead_letters.take("gate"):
            await ref.ask(letter.message)
        assert actors[0].messages == ["first", 0, 1, 2]
        assert system.dead_letters.take("gate") == []
        assert system.dead_letters.total == 2
        await system.stop()

    run_virtual(main)


class Plain(AsyncioActor):
    def on_receive(self, message):
        return message + 1


def test_plain_functions_are_handlers_too():
    async def main():
        ref = Plain.start()
        assert await ref.ask(1) == 2
        await ref.stop()

    run_virtual(main)

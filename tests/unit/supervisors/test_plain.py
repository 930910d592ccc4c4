"""Actors whose handler is a plain function: served in the run queue, with the semantics of all others."""

import asyncio
import threading

import pykka
import pytest

from supervisors import ActorSystem, AsyncioActor, ChildSpec, Priority, SupervisorSpec
from supervisors.testing import Signal, VirtualLoop, run_virtual
from tests.unit.supervisors.witness import QUICK

COUNT = 300


class Plain(AsyncioActor):
    """Notes what it is told; answers asks; does what a message says."""

    def __init__(self, seen, got):
        super().__init__()
        self.seen, self.got = seen, got
        self.number = len({number for number, _ in seen}) + 1

    def on_receive(self, message):
        self.seen.append((self.number, message))
        self.got.fire()
        if isinstance(message, BaseException):
            raise message
        if callable(message):
            return message(self)
        return message


async def started(*names, **options):
    seen, got = [], Signal()
    children = tuple(ChildSpec(name, lambda: Plain(seen, got), **options) for name in names)
    system = ActorSystem(SupervisorSpec("root", children, backoff=QUICK, intensity=100))
    await system.start()
    return system, seen, got


@pytest.mark.feature("PA-010")
def test_many_are_handled_in_order_and_levels_are_kept():
    async def main():
        system, seen, got = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)
        for number in range(COUNT):
            ref.tell(number)
        ref.tell("urgent", priority=Priority.URGENT)
        await got.reached(COUNT + 1)
        assert [message for _, message in seen if message != "urgent"] == list(range(COUNT))
        assert seen.index((1, "urgent")) < 50
        assert system.snapshot().actors[1].handled == COUNT + 1
        await system.stop()

    run_virtual(main, seed=None)


def test_an_ask_of_an_idle_one_is_answered_at_once_behind_what_was_told():
    async def main():
        system, seen, _ = await started("plain")
        ref = system.ref("plain")
        await ref.ask("warm")
        reply = ref.ask("idle")
        assert reply.done()
        assert await reply == "idle"
        ref.tell("first")
        reply = ref.ask("second")
        assert not reply.done(), "it may not overtake what was told before"
        assert await reply == "second"
        assert [message for _, message in seen] == ["warm", "idle", "first", "second"]
        await system.stop()

    run_virtual(main, seed=None)


@pytest.mark.feature("PA-002", "PA-012")
def test_what_kills_it_is_redelivered_then_buried_and_the_next_served():
    async def main():
        system, seen, got = await started("plain", redeliver=1)
        ref = system.ref("plain")
        await asyncio.sleep(0)
        odd = ValueError("odd")
        for message in ("before", odd, "after"):
            ref.tell(message)
        await got.reached(4)
        assert seen == [(1, "before"), (1, odd), (2, odd), (3, "after")]
        (letter,) = system.dead_letters
        assert (letter.message, letter.tries) == (odd, 2)
        assert "in on_receive" in letter.traceback
        await system.stop()

    run_virtual(main, seed=None)


def test_what_an_ask_raises_goes_to_the_asker():
    async def main():
        system, _, _ = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)
        with pytest.raises(ValueError, match="odd"):
            await ref.ask(ValueError("odd"))
        assert await ref.ask(1) == 1
        assert system.snapshot().actors[1].restarts == 0
        await system.stop()

    run_virtual(main, seed=None)


@pytest.mark.feature("PA-003", "PA-013")
def test_what_it_wants_to_be_awaited_is_awaited_by_its_task():
    async def main():
        system, _seen, got = await started("plain", handler_deadline=30.0)
        ref = system.ref("plain")
        await asyncio.sleep(0)

        async def later(seconds):
            await asyncio.sleep(seconds)
            return seconds

        assert await ref.ask(lambda _: later(5.0)) == 5.0
        ref.tell(lambda _: later(5.0))
        ref.tell("next")
        await got.reached(3)
        assert system.snapshot().actors[1].current is None or system.snapshot().actors[1].restarts == 0
        with pytest.raises(pykka.Timeout):
            await ref.ask(lambda _: later(20.0), timeout=1.0)
        ref.tell(lambda _: later(1000.0))
        ref.tell("last")
        await got.reached(6)
        assert system.snapshot().actors[1].restarts == 1, "one that waits too long is overdue as any other"
        await system.stop()

    run_virtual(main, seed=None)


def test_asks_inside_asks_go_as_deep_as_they_like():
    names = [f"link{number}" for number in range(400)]

    async def main():
        system, seen, _ = await started(*names)
        refs = [system.ref(name) for name in names]
        for ref in refs:
            ref.tell("first, which goes the long way")
        await asyncio.sleep(1)
        seen.clear()

        def link(number):
            return lambda _: refs[number].ask(link(number + 1), timeout=None) if number < len(refs) else "end"

        reply = refs[0].ask(link(1), timeout=None)
        for _ in names:
            reply = await reply
        assert reply == "end"
        assert len(seen) == len(names)
        assert not any(actor.restarts for actor in system.snapshot().actors), "none died of the depth"
        await system.stop()

    run_virtual(main, seed=None)


def test_who_asks_again_and_again_lets_others_run():
    async def main():
        system, _, _ = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)
        turns = Signal()

        async def other():
            while True:
                turns.fire()
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        for number in range(1000):
            await ref.ask(number)
        assert turns.count > 5
        task.cancel()
        await asyncio.wait([task])
        await system.stop()

    run_virtual(main, seed=None)


def test_it_is_paused_traced_and_stopped_as_others_are():
    async def main():
        system, seen, got = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)
        system.pause("plain")
        ref.tell("waits")
        assert not ref.ask("waits too").done()
        await asyncio.sleep(1)
        assert seen == []
        system.resume("plain")
        await got.reached(2)
        trace = system.trace(actor="plain")
        ref.tell("traced")
        await got.reached(3)
        trace.stop()
        ref.tell("untraced")
        await got.reached(4)
        assert [record.message for record in trace.records] == ["'traced'"]
        ref.tell(lambda actor: actor.stop())
        await got.reached(5)
        ref.tell("behind the stop, for the next instance")
        await got.reached(6)
        assert [number for number, _ in seen] == [1, 1, 1, 1, 1, 2]
        await system.stop()

    run_virtual(main, seed=None)


def test_who_pauses_it_in_the_midst_is_obeyed_before_its_next_message():
    async def main():
        system, seen, got = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)
        for message in ("first", "second", lambda _: system.pause("plain"), "fourth"):
            ref.tell(message)
        await asyncio.sleep(1)
        assert len(seen) == 3
        system.resume("plain")
        await got.reached(4)
        assert seen[3] == (1, "fourth")
        await system.stop()

    run_virtual(main, seed=None)


def test_a_life_whose_actor_was_taken_from_it_handles_nothing_more():
    async def main():
        system, seen, _ = await started("plain")
        ref = system.ref("plain")
        ref.tell("first")
        await asyncio.sleep(1)
        cell = ref._cell
        life = cell.life
        ref.tell("second")  # its doze lies in the run queue
        cell.release(life)
        await asyncio.sleep(1)
        assert seen == [(1, "first")]
        cell.life = life
        await system.stop()

    run_virtual(main, seed=None)


def test_a_restart_fences_the_old_instance():
    async def main():
        system, seen, got = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)
        for number in range(COUNT):
            ref.tell(number)
            if number % 60 == 59:
                await system.restart("plain")
        await got.reached(COUNT)
        assert [message for _, message in seen] == list(range(COUNT))
        numbers = [number for number, _ in seen]
        assert numbers == sorted(numbers)
        await system.stop()

    run_virtual(main, seed=None)


def test_messages_from_threads_arrive_once_and_in_order():
    async def main():
        system, seen, got = await started("plain")
        ref = system.ref("plain")
        await asyncio.sleep(0)

        def send(name):
            for number in range(COUNT):
                while True:
                    try:
                        ref.tell((name, number))
                    except Exception:
                        continue
                    break
            assert ref.ask((name, "end"), block=True) == (name, "end")

        threads = [threading.Thread(target=send, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        await got.reached(3 * (COUNT + 1), within=30)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        for name in "abc":
            assert [number for _, (sender, number) in seen if sender == name] == [*range(COUNT), "end"]
        await system.stop()

    asyncio.run(main())


def test_a_loop_that_is_closed_is_forgotten():
    from supervisors import run_queue

    run_virtual(lambda: _once())
    VirtualLoop(0).close()
    run_virtual(lambda: _once())
    assert len([loop for loop in run_queue._queues if loop.is_closed()]) <= 1


async def _once():
    system, _, _ = await started("plain")
    await asyncio.sleep(0)
    assert await system.ref("plain").ask(1) == 1
    await system.stop()

"""Coroutine handlers begun outside their task: to the handler, its asker and its supervisor nothing may differ."""

import asyncio
import inspect
import weakref
from asyncio import tasks
from contextvars import ContextVar

import pykka
import pytest

from supervisors import AskCycle, HandlerOverdue
from supervisors.testing import Signal, run_virtual
from tests.unit.supervisors.doer import awaited, started, tried

here: "ContextVar[str]" = ContextVar("here", default="nowhere")


def test_the_names_of_asyncio_that_begin_a_handler_are_there():
    for name in ("_enter_task", "_leave_task"):
        assert list(inspect.signature(getattr(tasks, name)).parameters) == ["loop", "task"], name


def test_an_ask_of_an_idle_one_is_answered_at_once():
    async def main():
        system = await started("a")
        reply = system.ref("a").ask(lambda _: asyncio.sleep(0, "slept"))
        assert not reply.done()

        async def at_once(actor):
            return actor.number

        assert await reply == "slept"
        await asyncio.sleep(0)
        reply = system.ref("a").ask(at_once)
        assert reply.done()
        assert await reply == 1
        await system.stop()

    run_virtual(main, seed=None)


def test_a_handler_runs_in_its_own_task_and_context_before_and_after_it_waits():
    async def main():
        here.set("main")
        system = await started("a", "b")
        me = asyncio.current_task()

        async def inner(actor):
            assert here.get() != "outer"
            here.set(actor.name)
            first = asyncio.current_task()
            await asyncio.sleep(0)
            return first, asyncio.current_task()

        async def outer(_):
            here.set("outer")
            first = asyncio.current_task()
            both = await system.ref("b").ask(inner)
            assert asyncio.current_task() is first
            assert here.get() == "outer"
            return first, both

        for _ in range(3):
            task, (begun, ended) = await system.ref("a").ask(outer)
            assert (task.get_name(), begun.get_name()) == ("a#1", "b#1")
            assert begun is ended
            assert asyncio.current_task() is me
            assert here.get() == "main"
        await system.stop()

    tried(main)


@pytest.mark.feature("PA-003")
@pytest.mark.parametrize("seconds", [0, 1, 5])
def test_a_timeout_within_a_handler_is_its_own(seconds):
    async def main():
        system = await started("a")

        async def impatient(_):
            try:
                async with asyncio.timeout(seconds):
                    await asyncio.sleep(1000)
            except TimeoutError:
                return asyncio.current_task().cancelling()

        assert await system.ref("a").ask(impatient, timeout=None) == 0
        assert await system.ref("a").ask(impatient, timeout=None) == 0
        assert system.snapshot().actors[1].restarts == 0
        await system.stop()

    tried(main)


class Odd(BaseException):
    """What no handler should raise."""


@pytest.mark.feature("PA-002", "PA-012")
@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError, Odd])
@pytest.mark.parametrize("waits", [False, True])
def test_what_a_handler_raises_fails_it_before_and_after_it_waits(error, waits):
    async def main():
        system = await started("a", redeliver=0)

        async def fails(_):
            if waits:
                await asyncio.sleep(0)
            raise error("odd")

        async def who(actor):
            return actor.number

        system.ref("a").tell(fails)
        assert await system.ref("a").ask(who) == 2
        failure = system.snapshot().actors[1].last_failure
        assert failure.type == ("HandlerCancelled" if error is asyncio.CancelledError else error.__name__)
        if error is ValueError:
            assert "in fails" in failure.traceback or "in fails" in system.dead_letters.take("a")[0].traceback
            with pytest.raises(ValueError, match="odd"):
                await system.ref("a").ask(fails)
        await system.stop()

    tried(main)


@pytest.mark.feature("PA-013")
@pytest.mark.parametrize("error", [ValueError, Odd])
def test_what_an_ask_left_running_asks_in_its_own_name_once_that_is_over(error):
    """However it ended: that its actor is asked again is no circle then."""

    async def main():
        system = await started("a", redeliver=0)
        answers = []

        async def later():
            await asyncio.sleep(10)
            answers.append(await system.ref("a").ask(lambda _: asyncio.sleep(0, "asked")))

        async def leaves(_):
            left.append(asyncio.create_task(later()))
            raise error

        left = []
        reply = system.ref("a").ask(leaves, timeout=5)
        with pytest.raises((error, pykka.Timeout)):
            await reply
        await asyncio.gather(*left)
        assert set(answers) == {"asked"}
        await system.stop()

    tried(main)


@pytest.mark.feature("PA-003")
def test_one_that_hangs_in_its_first_wait_is_shown_where_it_stands():
    async def main():
        system = await started("a", handler_deadline=30.0, redeliver=0)

        async def hangs(_):
            await asyncio.sleep(1000)

        begin = system.clock.monotonic()
        with pytest.raises(HandlerOverdue):
            await system.ref("a").ask(hangs, timeout=None)
        assert system.clock.monotonic() - begin == pytest.approx(30, abs=0.1)
        failure = system.snapshot().actors[1].last_failure
        assert failure.type == "HandlerOverdue"
        assert "await asyncio.sleep(1000)" in failure.traceback
        await system.stop()

    tried(main)


@pytest.mark.feature("PA-003")
def test_what_it_did_before_it_waited_counts_for_its_deadline():
    async def main():
        system = await started("a", handler_deadline=30.0, redeliver=0)

        async def busy_then_waits(_):
            asyncio.get_running_loop().advance(20.0)
            await asyncio.sleep(15)

        with pytest.raises(HandlerOverdue):
            await system.ref("a").ask(busy_then_waits, timeout=None)
        await system.stop()

    tried(main)


def test_one_message_at_a_time_in_order_while_a_handler_waits():
    async def main():
        system = await started("a")
        seen, done = [], Signal()

        def item(number):
            async def handle(_):
                seen.append(("begin", number))
                for _ in range(number % 3):
                    await asyncio.sleep(0)
                seen.append(("end", number))
                done.fire()

            return handle

        replies = []
        for number in range(100):
            if number % 4:
                system.ref("a").tell(item(number))
            else:
                replies.append(system.ref("a").ask(item(number)))
            if number % 5 == 0:
                await asyncio.sleep(0)
        await done.reached(100)
        assert seen == [(what, number) for number in range(100) for what in ("begin", "end")]
        await asyncio.gather(*map(asyncio.ensure_future, map(awaited, replies)))
        assert system.snapshot().actors[1].handled == 1 + 100
        await system.stop()

    tried(main)


@pytest.mark.feature("PA-013")
def test_a_circle_of_asks_is_refused_and_depth_is_no_matter():
    names = [f"link{number}" for number in range(200)]

    async def main():
        system = await started(*names)

        def link(number):
            async def handle(_):
                return await system.ref(names[number]).ask(link(number + 1)) if number < len(names) else number

            return handle

        assert await system.ref(names[0]).ask(link(1)) == len(names)
        assert not any(actor.restarts for actor in system.snapshot().actors), "none died of the depth"

        async def back(_):
            return await system.ref(names[0]).ask(back)

        async def there(_):
            return await system.ref(names[1]).ask(back)

        with pytest.raises(AskCycle, match="link0 -> link1 -> link0"):
            await system.ref(names[0]).ask(there)
        await system.stop()

    tried(main, seeds=[None, 0, 1])


@pytest.mark.feature("PA-013")
def test_an_answer_after_the_deadline_is_dropped():
    async def main():
        system = await started("a")

        async def late(_):
            await asyncio.sleep(5)
            return "late"

        with pytest.raises(pykka.Timeout):
            await system.ref("a").ask(late, timeout=1.0)
        await asyncio.sleep(10)
        assert system.ref("a")._cell.late_replies == 1
        await system.stop()

    tried(main)


@pytest.mark.parametrize("turns", [0, 2])
def test_an_idle_one_keeps_no_message(turns):
    async def main():
        system = await started("a")

        async def handle(_):
            for _ in range(turns):
                await asyncio.sleep(1)

        await system.ref("a").ask(handle, timeout=None)
        await asyncio.sleep(1)
        kept = weakref.ref(handle)
        del handle
        assert kept() is None
        await system.stop()

    tried(main)


def test_an_ask_made_while_the_loop_stands_still_waits_for_it():
    async def handle(_):
        return asyncio.get_running_loop()

    with asyncio.Runner() as runner:
        system = runner.run(started("a"))
        reply = system.ref("a").ask(handle)
        assert not reply.done()
        assert runner.run(awaited(reply)) is runner.get_loop()
        runner.run(system.stop())

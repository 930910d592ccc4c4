"""A cancel that meets a handler which was begun outside its task, wherever that stands."""

import asyncio

import pytest

from supervisors.rest import Rest
from supervisors.run_queue import Doze
from supervisors.testing import Signal, run_virtual
from tests.unit.supervisors.doer import awaited, started, tried


@pytest.mark.parametrize("turns", range(4))
def test_a_cancel_reaches_the_handler_and_what_it_waits_for(turns):
    """In whichever turn it comes: before the task has got to what the handler left, or after."""

    async def main():
        system = await started("a", redeliver=0)
        begun, met = Signal(), []

        async def waited_for():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                met.append("waited for")
                raise

        async def waits(_):
            other = asyncio.create_task(waited_for())
            await asyncio.sleep(0)
            begun.fire()
            try:
                await other
            except asyncio.CancelledError:
                met.append(("handler", other.cancelled()))
                raise

        life = system.ref("a")._cell.life
        system.ref("a").tell(waits)
        await begun.reached()
        for _ in range(turns):
            await asyncio.sleep(0)
        life.task.cancel("why")
        await asyncio.sleep(10)
        assert met == ["waited for", ("handler", True)]
        seen = system.snapshot().actors[1]
        assert (seen.restarts, seen.last_failure.type) == (1, "HandlerCancelled")
        await system.stop()

    tried(main)


@pytest.mark.parametrize("kind", ["future", "done", "turn"])
def test_a_cancel_before_the_task_is_awake_is_taken_by_the_handler(kind):
    async def main():
        system = await started("a")
        loop = asyncio.get_running_loop()
        future = loop.create_future()

        async def waits(_):
            task = asyncio.current_task()
            loop.call_soon(task.cancel, "why")
            if kind == "done":
                loop.call_soon(lambda: future.done() or future.set_result(None))
            try:
                await (asyncio.sleep(0) if kind == "turn" else future)
                await asyncio.sleep(1)
            except asyncio.CancelledError as error:
                task.uncancel()
                return error.args, future.cancelled()
            return "not cancelled"

        args, cancelled = await system.ref("a").ask(waits)
        assert args in {("why",), ()}  # a future that was cancelled tells why itself
        assert cancelled == (kind == "future") or kind == "done"  # whichever came first
        assert system.snapshot().actors[1].restarts == 0
        await system.stop()

    tried(main)


def test_one_that_cancels_itself_is_cancelled_where_it_waits_next():
    async def main():
        system = await started("a")

        async def cancels(_):
            asyncio.current_task().cancel()
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                asyncio.current_task().uncancel()
                return "cancelled"

        assert await system.ref("a").ask(cancels) == "cancelled"

        async def leaves_it(_):
            asyncio.current_task().cancel()

        system.ref("a").tell(leaves_it)
        await asyncio.sleep(10)
        assert system.snapshot().actors[1].last_failure.type == "HandlerCancelled"
        assert await system.ref("a").ask(cancels) == "cancelled"
        await system.stop()

    tried(main)


def test_a_task_that_is_closed_before_it_is_awake_closes_what_was_left():
    async def main():
        system = await started("a")
        ended = []

        async def waits():
            try:
                await asyncio.sleep(1)
            finally:
                ended.append("handler")

        doze = Doze(system.ref("a")._cell.life, asyncio.get_running_loop())
        handler = waits()
        doze.rest = Rest(handler, handler.send(None))
        doze.left = awaited(doze.rest)
        with pytest.raises(GeneratorExit):
            doze.disturb(GeneratorExit())
        assert ended == ["handler"]
        with pytest.raises(RuntimeError, match="already awaited"):
            await doze.left
        await system.stop()

    run_virtual(main)

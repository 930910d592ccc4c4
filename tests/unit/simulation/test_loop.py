"""The loop of a simulated life counts steps, dies where it is told to, and leaves nothing real running."""

import asyncio
import threading

import pytest

from services.simulation.loop import Killed, LifeLoop, bury
from supervisors.virtual_loop import DeadlockError


async def counting(seen: list[int]) -> None:
    try:
        for number in range(10):
            seen.append(number)
            await asyncio.sleep(1)
    finally:
        seen.append(-1)


def run(loop: LifeLoop, seen: list[int]) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(counting(seen))
    finally:
        bury(loop)


@pytest.mark.feature("REL-01")
@pytest.mark.parametrize("after", range(1, 11))
def test_it_dies_after_a_given_step(after: int) -> None:
    seen: list[int] = []
    with pytest.raises(Killed, match=f"killed after step {after}"):
        run(LifeLoop(1, kill_after=after), seen)
    assert [number for number in seen if number >= 0] == list(range(after))


def test_its_time_begins_where_the_last_life_ended() -> None:
    loop = LifeLoop(1, now=100.0)
    run(loop, [])
    assert loop.time() == pytest.approx(110.0)
    assert loop.steps == 11


def test_what_others_do_in_a_thread_is_done_at_once() -> None:
    loop = LifeLoop(1)
    asyncio.set_event_loop(loop)
    assert loop.run_until_complete(asyncio.to_thread(threading.get_ident)) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(asyncio.to_thread(lambda: 1 // 0))
    bury(loop)


def test_waiting_for_nothing_is_told() -> None:
    loop = LifeLoop(1)
    asyncio.set_event_loop(loop)
    with pytest.raises(DeadlockError, match="nothing is ready and no timer runs"):
        loop.run_until_complete(asyncio.Event().wait())
    bury(loop)


def test_cancelled_timers_do_not_pile_up() -> None:
    async def many() -> int:
        loop = asyncio.get_running_loop()
        for _ in range(2000):
            loop.call_later(1e6, print).cancel()
            await asyncio.sleep(0)
        return len(loop._scheduled)  # type: ignore[attr-defined]

    loop = LifeLoop(1)
    asyncio.set_event_loop(loop)
    assert loop.run_until_complete(many()) < 200
    bury(loop)

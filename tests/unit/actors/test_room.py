"""What is let go to a place, by what it told at the last look and what was promised since."""

import asyncio
import logging
from collections import namedtuple
from types import SimpleNamespace
from typing import Any

import pytest

from actors.room import ANSWER_S, Rooms
from backends.storage_element.base import StorageError
from config.settings import Transfer
from domain.room import AWAY, FULL, Room, amount, pause_s
from supervisors.testing import Signal

Task = namedtuple("Task", "id lfn source destination size")


class HandClock:
    """Goes forward only when a test says so."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Element:
    """Tells what the test wants; `far`: what is fetched from it goes through the agent's disk."""

    def __init__(self, free: int | None, *, far: bool = False) -> None:
        self.room, self.far = free, far
        self.fault: Exception | None = None
        self.looks = 0

    async def free(self) -> int | None:
        self.looks += 1
        if self.fault is not None:
            raise self.fault
        return self.room

    def local_path(self, lfn: str) -> str | None:
        return None if self.far else lfn


class Outside:
    """A stage with storages, a clock, and a signal for each time it is woken."""

    def __init__(self, **storages: Element) -> None:
        self.clock, self.woken = HandClock(), Signal()
        settings = SimpleNamespace(
            transfer=Transfer(look_s=30.0, retry_base_s=60.0, retry_cap_s=240.0),
            agent=SimpleNamespace(state="/"),
            disk=SimpleNamespace(intake_percent=100.0),
        )
        self.world = SimpleNamespace(storages=storages, clock=self.clock, settings=settings)
        self.actor_ref = SimpleNamespace(tell=lambda _message, **_: self.woken.fire())
        self.log = logging.getLogger("test")
        self.rooms = Rooms(self)  # type: ignore[arg-type]

    async def admitted(self, *tasks: Any) -> list[int]:
        """Let the places be looked at, and return the tasks that may go."""
        before = self.woken.count
        going = self.rooms.admit(tasks)
        if not going and any(place.looking for place in self.rooms._places.values()):
            await self.woken.reached(before + 1)
            going = self.rooms.admit(tasks)
        for task in going:
            self.rooms.begun(task)
        return [task.id for task in going]


def task(number: int, size: int, to: str = "home", source: str = "alps") -> Any:
    return Task(number, "/store/x", source, to, size)


@pytest.mark.feature("PA-317", "TX-14")
async def test_used_and_promised_never_exceed_what_is_free() -> None:
    home = Element(100)
    outside = Outside(home=home, alps=Element(None))
    first, second, third = task(1, 60), task(2, 60), task(3, 10)
    assert await outside.admitted(first, second, third) == [1], "the third overtakes none that waits for room"
    assert home.looks == 1
    assert await outside.admitted(second, third) == [], "the first is under way"
    home.room = 40
    outside.rooms.ended(first)
    outside.clock.now += 1.0
    assert await outside.admitted(second) == [], "it lies there now: a new look says so"
    assert home.looks == 2
    assert await outside.admitted(third) == [], "nobody looks again so soon"
    home.room = 200
    outside.clock.now += 31.0
    assert await outside.admitted(second, third) == [2, 3]


@pytest.mark.feature("PA-317")
async def test_what_is_under_way_at_a_look_is_promised_whole() -> None:
    """Nobody knows how much of it lies there already."""
    outside = Outside(home=Element(100), alps=Element(None))
    assert await outside.admitted(task(1, 60)) == [1]
    outside.clock.now += 31.0
    assert await outside.admitted(task(2, 60)) == []
    assert await outside.admitted(task(3, 40)) == []
    assert outside.rooms._places["home"].shut.code == FULL  # type: ignore[union-attr]


@pytest.mark.feature("PA-317", "PA-306")
async def test_a_place_that_is_away_keeps_no_other_waiting() -> None:
    away = Element(100)
    away.fault = StorageError("no route to host", kind="transient")
    outside = Outside(home=Element(100), away=away, alps=Element(None))
    assert await outside.admitted(task(1, 10, "away"), task(2, 10)) in ([], [2])
    assert await outside.admitted(task(1, 10, "away"), task(2, 10)) in ([], [2])
    assert outside.rooms._places["away"].shut == (AWAY, "away does not answer: no route to host")
    away.fault = None
    assert await outside.admitted(task(1, 10, "away")) == [], "it is asked again after a while"
    outside.clock.now += 31.0
    assert await outside.admitted(task(1, 10, "away")) == [1]


@pytest.mark.feature("PA-317")
@pytest.mark.parametrize("fault", [StorageError("403", kind="permission"), AttributeError("it has no such method")])
async def test_a_place_that_does_not_tell_is_sent_to(fault: Exception) -> None:
    home = Element(0)
    home.fault = fault
    outside = Outside(home=home, alps=Element(None))
    assert await outside.admitted(task(1, 10**15)) == [1]


@pytest.mark.feature("PA-317")
async def test_one_that_hangs_when_it_is_asked_does_not_answer() -> None:
    outside = Outside(home=Element(None), alps=Element(None))
    outside.world.storages["home"].fault = TimeoutError()
    assert await outside.admitted(task(1, 1)) == []
    assert outside.rooms._places["home"].shut == (AWAY, f"home does not answer: no word for {ANSWER_S:g} s")


@pytest.mark.feature("PA-317")
async def test_a_refusal_is_believed_for_a_growing_time() -> None:
    outside = Outside(home=Element(None), alps=Element(None))
    pauses = []
    for number in range(4):
        assert await outside.admitted(task(number, 1)) == [number]
        pauses.append(outside.rooms.refused(task(number, 1), "507"))
        outside.rooms.refused(task(number, 1), "507")  # of those under way together each is refused
        outside.rooms.ended(task(number, 1))
        assert await outside.admitted(task(9, 1)) == []
        outside.clock.now += pauses[-1]
    assert pauses == [60.0, 120.0, 240.0, 240.0]
    assert await outside.admitted(task(9, 1)) == [9]
    outside.rooms.arrived(task(9, 1))
    assert outside.rooms.refused(task(10, 1), "507") == 60.0


@pytest.mark.feature("PA-317")
async def test_what_goes_through_the_agents_own_disk_needs_room_there_too() -> None:
    outside = Outside(home=Element(None), alps=Element(None, far=True), near=Element(None))
    await outside.admitted(task(1, 10**18))
    assert await outside.admitted(task(1, 10**18), task(2, 10**18, source="near")) == [2]
    await outside.rooms.close()


@pytest.mark.feature("PA-317")
async def test_who_failed_is_asked_whether_it_is_there() -> None:
    home, alps = Element(None), Element(None)
    outside = Outside(home=home, alps=alps)
    assert await outside.rooms.silent(task(1, 1)) == ""
    alps.fault = StorageError("reset", kind="transient")
    assert await outside.rooms.silent(task(1, 1)) == "alps does not answer: reset"
    home.fault = StorageError("refused", kind="transient")
    assert (
        await asyncio.gather(*[outside.rooms.silent(task(1, 1)) for _ in range(5)])
        == ["home does not answer: refused"] * 5
    )
    assert home.looks == 3, "five that fail together ask once"


def test_words() -> None:
    assert Room(10, 4).holds(6)
    assert not Room(10, 4).holds(7)
    assert Room(None, 4).holds(10**18)
    assert [amount(size) for size in (5, 1500, 2 * 10**6, 3 * 10**9, 4 * 10**12)] == [
        "5 bytes", "1.5 kB", "2 MB", "3 GB", "4 TB"
    ]  # fmt: skip
    assert [pause_s(count, 60.0, 5400.0) for count in (1, 2, 99)] == [60.0, 120.0, 5400.0]

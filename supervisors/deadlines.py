"""Ends what has not ended in time, asks and handlers alike, with one timer for all of a loop."""

import asyncio
import heapq
from math import ceil, inf
from typing import Protocol
from weakref import WeakKeyDictionary

from supervisors.envelope import Ask
from supervisors.reply import PENDING

_SLOTS_PER_SECOND = 64  # whatever is late ends at most 16 ms later
FRESH = 32
_wheels: "WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines]" = WeakKeyDictionary()


class Mortal(Protocol):
    """What can have a deadline."""

    expiry: "set[Mortal] | None"  # where its deadline is kept; who ends in time takes itself out

    def expire(self) -> None:
        """End: the time is up."""


class Deadlines:
    """What is in flight on one loop, by the slot of time in which it ends.

    Most asks are answered long before their deadline: they enter a slot only when they are still open after the next
    few, or when their deadline comes before the timer does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.fresh: list[Ask] = []
        self._slots: dict[int, set[Mortal]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed: float = inf  # slot of the timer
        self.armed_at: float = inf

    def add_ask(self, ask: Ask, deadline: float) -> None:
        """End the ask at `deadline` on the loop's clock, unless it is answered before."""
        self.fresh.append(ask)
        if deadline < self.armed_at or len(self.fresh) >= FRESH:
            self.sort_out()

    def sort_out(self) -> None:
        """Give the asks that are still open their slots."""
        fresh = self.fresh[:]
        self.fresh.clear()
        for ask in fresh:
            if ask._value is PENDING:
                self.add(ask, ask.deadline or 0.0)

    def add(self, mortal: Mortal, deadline: float) -> None:
        """End it at `deadline` on the loop's clock, unless it takes itself out before."""
        slot = ceil(deadline * _SLOTS_PER_SECOND)
        waiting = self._slots.get(slot)
        if waiting is None:
            waiting = self._slots[slot] = set()
            heapq.heappush(self._order, slot)
            if slot < self._armed:
                self._arm()
        waiting.add(mortal)
        mortal.expiry = waiting

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._armed = self.armed_at = inf
        if self._order:
            self._armed = self._order[0]
            self.armed_at = self._armed / _SLOTS_PER_SECOND
            self._timer = self._loop.call_at(self.armed_at, self._expire)

    def _expire(self) -> None:
        self._armed = self.armed_at = inf
        self._timer = None
        self.sort_out()
        now = self._loop.time() * _SLOTS_PER_SECOND + 1e-3
        due: list[Mortal] = []
        while self._order and self._order[0] <= now:
            due.extend(self._slots.pop(heapq.heappop(self._order)))
        for mortal in due:
            mortal.expiry = None
            mortal.expire()
        self._arm()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Return the deadlines of a loop."""
    wheel = _wheels.get(loop)
    if wheel is None:
        for closed in [each for each in _wheels if each.is_closed()]:
            del _wheels[closed]
        wheel = _wheels[loop] = Deadlines(loop)
    return wheel

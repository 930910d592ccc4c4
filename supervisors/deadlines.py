"""Ends asks that nobody answered in time, with one timer for all of them."""

import asyncio
import heapq
from weakref import WeakKeyDictionary

import pykka

from supervisors.reply import Reply

_SLOTS_PER_SECOND = 64  # an ask ends at most 16 ms late
_wheels: "WeakKeyDictionary[asyncio.AbstractEventLoop, Deadlines]" = WeakKeyDictionary()


class Deadlines:
    """The asks in flight on one loop, by the slot of time in which they end."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._slots: dict[int, set[Reply[object]]] = {}
        self._order: list[int] = []
        self._timer: asyncio.TimerHandle | None = None
        self._armed: int | None = None
        self.expired = 0

    def add(self, reply: Reply[object], deadline: float) -> None:
        """End the reply at `deadline` on the loop's clock, unless it is answered before."""
        slot = int(deadline * _SLOTS_PER_SECOND) + 1
        waiting = self._slots.get(slot)
        if waiting is None:
            waiting = self._slots[slot] = set()
            heapq.heappush(self._order, slot)
            if self._armed is None or slot < self._armed:
                self._arm()
        waiting.add(reply)
        reply.expiry = waiting

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = self._order[0] if self._order else None
        self._timer = None
        if self._armed is not None:
            self._timer = self._loop.call_at(self._armed / _SLOTS_PER_SECOND, self._expire)

    def _expire(self) -> None:
        self._armed = None
        now = self._loop.time() * _SLOTS_PER_SECOND + 1e-3
        while self._order and self._order[0] <= now:
            for reply in tuple(self._slots.pop(heapq.heappop(self._order))):
                if not reply.done():
                    self.expired += 1
                    reply.fail(pykka.Timeout("no answer before the deadline of the ask"))
        self._arm()


def deadlines_of(loop: asyncio.AbstractEventLoop) -> Deadlines:
    """Return the deadlines of a loop."""
    wheel = _wheels.get(loop)
    if wheel is None:
        wheel = _wheels[loop] = Deadlines(loop)
    return wheel

"""Gives an actor its ticks and its timers."""

import asyncio
from collections.abc import Callable, Hashable
from random import Random
from typing import Any

import msgspec

_JITTER = 0.1


class Tick(msgspec.Struct, frozen=True):
    """It is time for the periodic work of that name."""

    name: str


class TickState:
    """One periodic tick: its interval, when it is due, whether one waits in the mailbox."""

    __slots__ = ("due", "every", "message", "pending", "timer")

    def __init__(self, name: str, every: float) -> None:
        self.message = Tick(name)
        self.every = every
        self.due = 0.0
        self.pending = False
        self.timer: asyncio.TimerHandle | None = None


class Ticker:
    """The ticks of one actor: they survive its restarts and end when it stops for good."""

    def __init__(self, deliver: Callable[[TickState], None], random: Random) -> None:
        self.ticks: dict[str, TickState] = {}
        self._deliver = deliver
        self._random = random

    def set(self, name: str, every: float, first: float | None) -> None:
        """Start a tick; of a running one only the interval changes, from its next turn on."""
        if every <= 0:
            raise ValueError(f"tick {name!r}: the interval must be positive, got {every!r}")
        known = self.ticks.get(name)
        if known is not None:
            known.every = every
            return
        tick = self.ticks[name] = TickState(name, every)
        self._schedule(tick, self._spread(every) if first is None else first)

    def now(self, name: str) -> None:
        """Deliver a tick at once; its rhythm goes on as before."""
        tick = self.ticks.get(name)
        if tick is None:
            raise KeyError(f"no tick {name!r}; there are: {', '.join(sorted(self.ticks)) or 'none'}")
        self._offer(tick)

    def taken(self, name: str) -> None:
        """Note that a tick left the mailbox, so that the next may enter."""
        if name in self.ticks:
            self.ticks[name].pending = False

    def clear(self) -> None:
        """End all ticks."""
        for tick in self.ticks.values():
            if tick.timer is not None:
                tick.timer.cancel()
        self.ticks.clear()

    def _spread(self, every: float) -> float:
        return every * (1 + _JITTER * (2 * self._random.random() - 1))

    def _schedule(self, tick: TickState, delay: float) -> None:
        loop = asyncio.get_running_loop()
        tick.due = loop.time() + delay
        tick.timer = loop.call_at(tick.due, self._fire, tick)

    def _fire(self, tick: TickState) -> None:
        self._schedule(tick, self._spread(tick.every))
        self._offer(tick)

    def _offer(self, tick: TickState) -> None:
        if not tick.pending:
            tick.pending = True
            self._deliver(tick)


class Timers:
    """The one-shot timers of one life of an actor, replaced and cancelled by key."""

    def __init__(self, deliver: Callable[[Any], None]) -> None:
        self._handles: dict[Hashable, asyncio.TimerHandle] = {}
        self._deliver = deliver

    def set(self, seconds: float, message: Any, key: Hashable | None) -> None:
        """Deliver a message after a while; a timer of the same key is replaced."""
        if seconds < 0:
            raise ValueError(f"timer for {message!r}: the delay must not be negative, got {seconds!r}")
        key = object() if key is None else key
        self.cancel(key)
        self._handles[key] = asyncio.get_running_loop().call_later(seconds, self._fire, key, message)

    def cancel(self, key: Hashable) -> bool:
        """Forget a timer; False when there is none of that key."""
        handle = self._handles.pop(key, None)
        if handle is None:
            return False
        handle.cancel()
        return True

    def clear(self) -> None:
        """Forget all timers."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _fire(self, key: Hashable, message: Any) -> None:
        del self._handles[key]
        self._deliver(message)

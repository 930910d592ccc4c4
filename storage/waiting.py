"""What waits for the writer: units in the order of their calls, and parts of joint units, which go together.

A joint unit costs by its statements and hardly by its parts. So after a commit its kind rests for a while, and patient parts
that come meanwhile wait for more: the busier the writer, the longer, and the more go at once. Whoever comes to an idle
writer waits for nobody.
"""

from collections.abc import Callable, Sequence
from typing import Any

from storage.writer import Pending

REST = 3.0
"""A kind of joint unit rests so many times as long as the commit with its last one took."""
REST_S = 0.5
"""And at most so long, in seconds: with 800 jobs a second 400 go at once."""


class Waiting:
    """All times are seconds of a clock that never goes back."""

    def __init__(self, most: int) -> None:
        self._most = most
        """Most units in one group; all parts of a joint one count as one."""
        self._waiting: list[Pending] = []
        self._rests: dict[Callable[..., Any], float] = {}
        """Until when each kind of joint unit rests."""

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def add(self, pending: Pending) -> None:
        self._waiting.append(pending)

    def take(self, now: float, *, closing: bool = False) -> list[Pending]:
        """Return the next group, and forget those whose caller has gone; `closing`: nobody rests any more."""
        group: list[Pending] = []
        stay: list[Pending] = []
        units: set[object] = set()
        for pending in self._waiting:
            if pending.outcome.cancelled():
                continue
            unit: object = pending.unit if pending.joint else pending
            rests = not closing and self._rested(pending) > now
            if rests or (unit not in units and len(units) == self._most):
                stay.append(pending)
            else:
                units.add(unit)
                group.append(pending)
        self._waiting = stay
        return group

    def done(self, group: Sequence[Pending], began: float, now: float) -> None:
        """Let the kinds of joint units in a group rest, whose commit took until now."""
        until = now + min(REST * (now - began), REST_S)
        resting = {unit: end for unit, end in self._rests.items() if end > now}
        self._rests = resting | {pending.unit: until for pending in group if pending.patient}

    def pause(self, now: float) -> float | None:
        """Return how long nothing of what waits may go; None: nothing waits."""
        return min((self._rested(pending) - now for pending in self._waiting), default=None)

    def clear(self) -> list[Pending]:
        """Forget all, and return it."""
        left, self._waiting = self._waiting, []
        return left

    def _rested(self, pending: Pending) -> float:
        return self._rests.get(pending.unit, 0.0) if pending.patient else 0.0

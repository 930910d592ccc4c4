"""Keeps the messages that nobody will handle, and counts why."""

from collections import Counter, deque
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Any

import msgspec


class Reason(StrEnum):
    """Why a message became a dead letter."""

    KILLED_ITS_ACTOR = "killed-its-actor"
    STOPPED = "stopped"
    PARKED = "parked"
    DROPPED = "dropped"  # pushed out by a newer one
    REFUSED = "refused"  # no room
    EXPIRED = "expired"  # its ask had ended before its turn came


class DeadLetter(msgspec.Struct, frozen=True):
    """A message that was not handled."""

    actor: str
    message: Any
    reason: Reason
    when: float  # UTC epoch seconds
    tries: int = 0
    error: str = ""
    traceback: str = ""


class DeadLetters:
    """The last dead letters in a ring; the counts cover all of them."""

    def __init__(self, size: int = 1000) -> None:
        self._ring: deque[DeadLetter] = deque(maxlen=size)
        self.fresh: deque[DeadLetter] = deque(maxlen=size)  # not yet taken over by who keeps them for longer
        self.counts: Counter[tuple[str, Reason]] = Counter()
        self.on_letter: Callable[[DeadLetter], None] | None = None

    def add(self, letter: DeadLetter) -> None:
        """Keep a dead letter, tell the observer."""
        self._ring.append(letter)
        self.fresh.append(letter)
        self.counts[letter.actor, letter.reason] += 1
        if self.on_letter is not None:
            self.on_letter(letter)

    def take(self, actor: str | None = None) -> list[DeadLetter]:
        """Remove and return the letters of one actor, or all: to replay them or to drop them."""
        taken = [letter for letter in self._ring if actor in (None, letter.actor)]
        kept = [letter for letter in self._ring if actor not in (None, letter.actor)]
        self._ring.clear()
        self._ring.extend(kept)
        return taken

    @property
    def total(self) -> int:
        """How many there ever were."""
        return self.counts.total()

    def __len__(self) -> int:
        return len(self._ring)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._ring))

"""Tells the time: wall clock for what people read, monotonic clock for how long things last."""

import time
from typing import Protocol


class Clock(Protocol):
    """What an actor asks for the time; tests hand in a virtual one."""

    def time(self) -> float:
        """Return the wall clock in UTC seconds since the epoch; may jump."""

    def monotonic(self) -> float:
        """Return the event loop's time in seconds; never goes back."""


class SystemClock:
    """The clock of the machine; its monotonic time is the one asyncio's loops use."""

    def __init__(self) -> None:
        self.time = time.time  # the functions themselves: read for every message
        self.monotonic = time.monotonic

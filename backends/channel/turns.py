"""Hands out turns, first come, first served, to at most as many at once as the limit says now."""

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """A semaphore whose size may change while it is used."""

    def __init__(self, limit: Callable[[], int]) -> None:
        self.running = 0
        self._limit = limit
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return sum(not turn.done() for turn in self._queue)

    async def take(self) -> None:
        """Wait for a turn. Whoever took one gives it back."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        self._wake()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give()
            raise

    def give(self) -> None:
        """Give a turn back."""
        self.running -= 1
        self._wake()

    def _wake(self) -> None:
        while self._queue and (self.running < self._limit() or self._queue[0].done()):
            turn = self._queue.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

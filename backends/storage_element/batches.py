"""Gathers the copies that are wanted at the same time into few runs of the program that moves them (TX-10).

Whoever comes while runs are under way waits for the next one, and goes with everybody who came meanwhile: a lone file
starts at once, a thousand small ones cost a dozen processes instead of a thousand.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from backends.storage_element.base import StorageError

MOST_FILES = 100
MOST_BYTES = 1_000_000_000


class Move:
    """One copy: `source` here to `target` there, of `size` bytes; `alone`, or in a run with others.

    Whoever moves it says `landed` or `failed`.
    """

    def __init__(self, source: Path, target: str, size: int) -> None:
        self.source = source
        self.target = target
        self.size = size
        self.alone = True
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def failed(self, error: StorageError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def landed(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


class Batches:
    """At most `runs` runs of `mover` at once. It settles every move that it is given; what it raises fails the others."""

    def __init__(self, mover: Callable[[Sequence[Move]], Awaitable[None]], runs: int) -> None:
        self._mover = mover
        self._runs = runs
        self._waiting: deque[Move] = deque()
        self._under_way: dict[asyncio.Task[None], list[Move]] = {}

    async def move(self, source: Path, target: str, size: int) -> Move:
        """Copy a file and return how it went; raise StorageError.

        On cancellation a run that nobody else waits for is ended, and is over when this returns.
        """
        move = Move(source, target, size)
        self._waiting.append(move)
        self._start()
        try:
            await move.done
        except asyncio.CancelledError:
            for run, moves in list(self._under_way.items()):
                if move in moves and all(each.done.done() for each in moves):
                    run.cancel()
                    await asyncio.gather(run, return_exceptions=True)
            raise
        return move

    def _start(self) -> None:
        while self._waiting and len(self._under_way) < self._runs:
            moves = self._next()
            if moves:
                for move in moves:
                    move.alone = len(moves) == 1
                run = asyncio.create_task(self._run(moves), name=f"move {len(moves)} files")
                self._under_way[run] = moves
                run.add_done_callback(self._ended)

    def _next(self) -> list[Move]:
        moves: list[Move] = []
        size = 0
        while self._waiting and len(moves) < MOST_FILES and (not moves or size + self._waiting[0].size <= MOST_BYTES):
            move = self._waiting.popleft()
            if not move.done.done():
                moves.append(move)
                size += move.size
        return moves

    async def _run(self, moves: list[Move]) -> None:
        try:
            await self._mover(moves)
            fault = StorageError("the mover said nothing of this file", kind="transient")
        except StorageError as error:
            fault = error
        for move in moves:
            move.failed(StorageError(f"{move.target}: {fault}", kind=fault.kind))

    def _ended(self, run: asyncio.Task[None]) -> None:
        for move in self._under_way.pop(run):
            move.failed(StorageError(f"{move.target}: its run was ended", kind="transient"))
        self._start()

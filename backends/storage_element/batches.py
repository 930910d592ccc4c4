"""Gathers the copies that are wanted at the same time into few runs of the program that moves them (TX-10).

Who comes while others come goes with them, as far as there are runs left; who comes later waits for the next run: a lone
file starts at once, a thousand small ones cost a dozen processes instead of a thousand.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from backends.storage_element.base import Birth, StorageError
from backends.storage_element.sums import size_of

MOST_FILES = 100
MOST_BYTES = 1_000_000_000
GATHER_S = 0.005
"""So long others may join whoever came first, in seconds: less than any program needs to begin."""


class Move:
    """One copy: `source` here, as it was at its `birth`, to `target` there.

    Whoever moves it says `landed` or `failed`; `told` is the sha256 of what lies there, if the same run has found it out.
    """

    def __init__(self, source: Path, target: str, birth: Birth) -> None:
        self.source = source
        self.target = target
        self.birth = birth
        self.arrived = False
        self.told = ""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def size(self) -> int:
        return self.birth.size

    def failed(self, error: StorageError) -> None:
        if not self.done.done():
            self.done.set_exception(error)

    def landed(self) -> None:
        self.arrived = True


class Batches:
    """At most `runs` runs of `mover` at once, each of `share` files at least if there are as many.

    The mover settles every move that it is given; what it raises fails those that have not landed.
    """

    def __init__(
        self, mover: Callable[[Sequence[Move]], Awaitable[None]], runs: int, *, share: int = MOST_FILES
    ) -> None:
        self._mover = mover
        self._runs = runs
        self._share = share
        self._waiting: deque[Move] = deque()
        self._gathering = False
        self._under_way: dict[asyncio.Task[None], list[Move]] = {}

    async def move(self, source: Path, target: str, birth: Birth) -> Move:
        """Copy a file and return how it went; raise StorageError, "missing" if there is no source.

        On cancellation a run that nobody else waits for is ended, and is over when this returns.
        """
        move = Move(source, target, birth)
        self._waiting.append(move)
        if not self._gathering:
            self._gathering = True
            asyncio.get_running_loop().call_later(GATHER_S, self._gathered)
        try:
            await move.done
        except asyncio.CancelledError:
            for run, moves in list(self._under_way.items()):
                if move in moves and all(each.done.done() for each in moves):
                    run.cancel()
                    await asyncio.gather(run, return_exceptions=True)
            raise
        return move

    def source(self, target: str) -> Path | None:
        """Return the source of what is on its way to `target`."""
        moves = (move for run in self._under_way.values() for move in run)
        return next((move.source for move in moves if move.target == target), None)

    def _gathered(self) -> None:
        self._gathering = False
        self._start()

    def _start(self) -> None:
        while self._waiting and len(self._under_way) < self._runs:
            if moves := self._next():
                run = asyncio.create_task(self._run(moves), name=f"move {len(moves)} files")
                self._under_way[run] = moves
                run.add_done_callback(self._ended)

    def _next(self) -> list[Move]:
        free = self._runs - len(self._under_way)
        most = min(MOST_FILES, max(self._share, -(-len(self._waiting) // free)))
        moves: list[Move] = []
        size = 0
        while self._waiting and len(moves) < most:
            move = self._waiting[0]
            size += move.size
            if moves and size > MOST_BYTES:
                break
            self._waiting.popleft()
            if not move.done.done():
                moves.append(move)
        return moves

    async def _run(self, moves: list[Move]) -> None:
        faults = await asyncio.to_thread(_look, moves)
        for move, fault in zip(moves, faults, strict=True):
            if fault is not None:
                move.failed(fault)
        going = [move for move in moves if not move.done.done()]
        try:
            if going:
                await self._mover(going)
            _fail(going, StorageError("the mover said nothing of this file", kind="transient"))
        except StorageError as error:
            _fail(going, error)
        for move in going:
            if not move.done.done():
                move.done.set_result(None)

    def _ended(self, run: asyncio.Task[None]) -> None:
        error = None if run.cancelled() else run.exception()
        why = "its run was ended" if error is None else f"{type(error).__name__}: {error}"
        for move in self._under_way.pop(run):
            move.failed(StorageError(f"{move.target}: {why}", kind="transient"))
        self._start()


def _fail(moves: Sequence[Move], fault: StorageError) -> None:
    for move in moves:
        if not move.arrived:
            move.failed(StorageError(f"{move.target}: {fault}", kind=fault.kind))


def _look(moves: Sequence[Move]) -> list[StorageError | None]:
    """Look at every source; return what is wrong with each."""
    return [_fault(move) for move in moves]


def _fault(move: Move) -> StorageError | None:
    try:
        size = size_of(move.source)
    except StorageError as fault:
        return fault
    if size == move.size:
        return None
    return StorageError(f"source {move.source} has {size} bytes, expected {move.size}", kind="integrity")

"""An event loop with its own time: waits cost nothing, the order of tasks follows a seed."""

import asyncio
import selectors
import sys
from collections import deque
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, TypeVar

from supervisors.run_queue import RunQueue
from supervisors.stacks import coroutine_stack

T = TypeVar("T")

ANSWERED_BY_THREADS = ("aiosqlite",)  # modules whose futures a thread of theirs resolves
STEPS = (asyncio.Task, RunQueue)  # whose callbacks are steps of actors and tasks
_EPOCH = 1_200_000_000.0  # 10 January 2008
_STALLED = 30.0  # real seconds to wait for a thread


class DeadlockError(Exception):
    """Nothing is ready, no timer runs, no thread works: the program would wait for ever."""


class LeakError(Exception):
    """Tasks are left after the main coroutine has ended."""


class VirtualClock:
    """The clock of a virtual loop; its wall clock can be set apart by `wall_offset`."""

    def __init__(self, loop: asyncio.AbstractEventLoop | None = None, *, epoch: float = _EPOCH) -> None:
        self._loop = loop or asyncio.get_running_loop()
        self._epoch = epoch
        self.wall_offset = 0.0

    def time(self) -> float:
        """Return the virtual wall clock."""
        return self._epoch + self.wall_offset + self._loop.time()

    def monotonic(self) -> float:
        """Return the loop's virtual time."""
        return self._loop.time()


class _Selector(selectors.DefaultSelector):
    """Waits for threads for real, otherwise jumps to the next timer."""

    loop: "VirtualLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready, or move the time on."""
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if self.loop.works_outside():
            ready = super().select(_STALLED)
            if not ready:
                raise DeadlockError(f"a thread gave no answer in {_STALLED:g} s")
            return ready
        if timeout is None:
            raise DeadlockError("nothing is ready and no timer runs; tasks:\n" + self.loop.describe_tasks())
        self.loop.advance(timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """A selector loop whose time moves only when nothing else can happen."""

    def __init__(self, seed: int | None = 0) -> None:
        self._virtual_now = 0.0
        self._random = self.dice = None if seed is None else Random(seed)  # noqa: S311
        self._ready: deque[asyncio.Handle]  # asyncio's own
        self._outside: set[asyncio.Future[Any]] = set()
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self._clock_resolution = 1e-6
        self.closing = False  # waiting for the threads of the executor
        self.clock = VirtualClock(self)

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._virtual_now

    def advance(self, seconds: float) -> None:
        """Move the time on."""
        self._virtual_now += seconds

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future, noting those that a thread will resolve."""
        future = super().create_future()
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.partition(".")[0] in ANSWERED_BY_THREADS:
            self.watch_outside(future)
        return future

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":  # type: ignore[override]
        """Run in a thread; the time stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self.watch_outside(future)
        return future

    def watch_outside(self, future: asyncio.Future[Any]) -> None:
        """Let the time stand still until this future, resolved by a thread, is done."""
        self._outside.add(future)
        future.add_done_callback(self._outside.discard)

    def works_outside(self) -> bool:
        """Say whether a thread owes an answer."""
        return self.closing or bool(self._outside)

    def describe_tasks(self) -> str:
        """Return the names of the unfinished tasks, each with where it stands."""
        return "\n".join(f"{task.get_name()}\n{coroutine_stack(task)}" for task in asyncio.all_tasks(self))

    def _run_once(self) -> None:
        if self._random is not None and len(self._ready) > 1:
            self._shuffle_tasks(self._random)
        super()._run_once()  # type: ignore[misc]

    def _shuffle_tasks(self, random: Random) -> None:
        """Change the order of steps only: protocols rely on the order of plain callbacks."""
        ready = self._ready
        places = [
            place
            for place, handle in enumerate(ready)
            if isinstance(getattr(handle._callback, "__self__", None), STEPS)  # type: ignore[attr-defined]
        ]
        handles = [ready[place] for place in places]
        random.shuffle(handles)
        for place, handle in zip(places, handles, strict=True):
            ready[place] = handle


def run_virtual(main: Callable[[], Coroutine[Any, Any, T]], *, seed: int | None = 0) -> T:
    """Run a coroutine to its end on a virtual loop; tasks left behind are an error.

    With the same seed the tasks run in the same order; `seed=None` keeps asyncio's own order.
    """
    loop = VirtualLoop(seed)
    try:
        asyncio.set_event_loop(loop)
        result = loop.run_until_complete(main())
        left = asyncio.all_tasks(loop)
        if left:
            raise LeakError("tasks are left:\n" + loop.describe_tasks())
        return result
    finally:
        _close(loop)


def _close(loop: VirtualLoop) -> None:
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=60))
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.closing = True
    loop.run_until_complete(loop.shutdown_default_executor())
    asyncio.set_event_loop(None)
    loop.close()

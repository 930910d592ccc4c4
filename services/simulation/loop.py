"""The event loop of a simulated life: no thread, no file, no wall clock; it counts steps and dies after a given one."""

import asyncio
import contextlib
import heapq
from typing import Any

from supervisors.virtual_loop import STEPS, DeadlockError, VirtualLoop

_MANY_TIMERS = 100
"""From so many on, timers that were cancelled are thrown out when they are more than half."""


class Killed(BaseException):
    """The simulated process has died: nothing of it runs any more, no `finally` writes anything down."""


class LifeLoop(VirtualLoop):
    """A virtual loop that starts at a given time and counts the steps of its tasks.

    A step is what a task does from one await to the next, so a kill after step k, for every k, is a kill at every await.
    Nothing real can wake this loop, so it never looks outside: one turn costs microseconds.
    """

    def __init__(self, seed: int | None, *, now: float = 0.0, kill_after: int | None = None) -> None:
        self._scheduled: list[Any]  # asyncio's own, as the next
        self._timer_cancelled_count: int
        super().__init__(seed)
        self.advance(now)
        self.steps = 0
        self.kill_after = kill_after

    def create_future(self) -> asyncio.Future[Any]:
        """Make a plain future: no thread answers here."""
        return asyncio.Future(loop=self)

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> "asyncio.Future[Any]":  # type: ignore[override]
        """Do at once what others do in a thread: a thread would make the history depend on the machine."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def kill(self) -> None:
        """Die after the step that is being made."""
        self.kill_after = self.steps

    def _run_once(self) -> None:
        self._throw_out_cancelled()
        if not self._ready:
            self._wait()
        self._collect_due()
        if self._random is not None and len(self._ready) > 1:
            self._shuffle_tasks(self._random)
        for _ in range(len(self._ready)):
            handle = self._ready.popleft()
            if handle._cancelled:
                continue
            handle._run()
            if isinstance(getattr(handle._callback, "__self__", None), STEPS):  # type: ignore[attr-defined]
                self.steps += 1
                if self.kill_after is not None and self.steps >= self.kill_after:
                    raise Killed(f"killed after step {self.steps}")
            if self._stopping:  # type: ignore[attr-defined]
                break

    def _wait(self) -> None:
        """Move the time on to the next timer."""
        timers = self._scheduled
        if not timers:
            raise DeadlockError("nothing is ready and no timer runs; tasks:\n" + self.describe_tasks())
        self.advance(max(0.0, timers[0]._when - self.time()))

    def _collect_due(self) -> None:
        timers, end = self._scheduled, self.time() + self._clock_resolution
        while timers and timers[0]._when < end:
            handle = heapq.heappop(timers)
            handle._scheduled = False
            self._ready.append(handle)

    def _throw_out_cancelled(self) -> None:
        timers = self._scheduled
        if len(timers) > _MANY_TIMERS and 2 * self._timer_cancelled_count > len(timers):
            kept = []
            for handle in timers:
                if handle._cancelled:
                    handle._scheduled = False
                else:
                    kept.append(handle)
            heapq.heapify(kept)
            self._scheduled = kept
            self._timer_cancelled_count = 0
        while self._scheduled and self._scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(self._scheduled)._scheduled = False


def bury(loop: LifeLoop) -> None:
    """Take a dead process apart: its coroutines are thrown away where they stand, then the loop is closed.

    What their `finally` parts do reaches nothing: the store and the gates of that life are closed to it before.
    """
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        for _ in range(3):  # one that awaits in its `finally` stands there once more
            with contextlib.suppress(Exception):
                task.get_coro().close()
                break
    asyncio.set_event_loop(None)
    loop.close()

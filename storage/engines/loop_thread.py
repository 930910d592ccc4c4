"""An event loop in a thread of its own, for a driver that awaits."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.util import greenlet_spawn

P = ParamSpec("P")
T = TypeVar("T")


class LoopThread:
    """Runs plain functions whose database calls await in this thread's loop.

    So a unit or a question of any length never holds up the loop of the actors, as with SQLite's threads.
    """

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()
        self.closed = False

    async def do(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `work` there; a cancelled caller has it cancelled at its next database call."""
        return await asyncio.wrap_future(self._submit(work, *args, **kwargs))

    def do_now(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The same, waiting in the caller's thread."""
        return self._submit(work, *args, **kwargs).result()

    def _submit(self, work: Callable[..., T], *args: Any, **kwargs: Any) -> "Future[T]":
        async def spawned() -> T:
            return await greenlet_spawn(work, *args, **kwargs)

        return asyncio.run_coroutine_threadsafe(spawned(), self._loop)

    def close(self) -> None:
        """End what still runs there, and the thread. Safe to repeat."""
        if self.closed:
            return
        self.closed = True
        asyncio.run_coroutine_threadsafe(_cancel_rest(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _cancel_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    for _ in range(3):  # connections that were just closed let go of their sockets
        await asyncio.sleep(0)

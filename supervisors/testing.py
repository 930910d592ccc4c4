"""The testing kit: virtual time, a probe actor, signals to await instead of sleeping."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

from supervisors.actor import AsyncioActor
from supervisors.virtual_loop import DeadlockError, LeakError, VirtualClock, VirtualLoop, run_virtual

__all__ = ["DeadlockError", "LeakError", "LoopThread", "Probe", "Signal", "VirtualClock", "VirtualLoop", "run_virtual"]


class LoopThread:
    """An event loop in a thread of its own, for code that blocks: `with LoopThread() as loop`."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop", daemon=True)

    def __enter__(self) -> asyncio.AbstractEventLoop:
        self._thread.start()
        return self.loop

    def __exit__(self, *_: object) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class Signal:
    """Counts what happens; tests await a count instead of sleeping."""

    def __init__(self) -> None:
        self.count = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    def fire(self) -> None:
        """Note that it happened once more."""
        self.count += 1
        for wanted, waiter in self._waiting:
            if self.count >= wanted and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(wanted, waiter) for wanted, waiter in self._waiting if not waiter.done()]

    async def reached(self, count: int = 1, *, within: float = 60.0) -> None:
        """Wait until it has happened `count` times in all."""
        if self.count >= count:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((count, waiter))
        try:
            async with asyncio.timeout(within):
                await waiter
        except TimeoutError:
            raise AssertionError(f"happened {self.count} times in {within:g} s, expected {count}") from None


class Probe(AsyncioActor):
    """An actor that keeps every message and answers as told."""

    def __init__(self, answer: Callable[[Any], Any] | None = None) -> None:
        super().__init__()
        self.messages: list[Any] = []
        self.got = Signal()
        self._answer = answer

    async def on_receive(self, message: Any) -> Any:
        """Keep the message, return the answer."""
        self.messages.append(message)
        self.got.fire()
        return None if self._answer is None else self._answer(message)

    async def expect(self, count: int = 1, *, within: float = 60.0) -> list[Any]:
        """Wait until `count` messages came in all; return them."""
        await self.got.reached(count, within=within)
        return self.messages

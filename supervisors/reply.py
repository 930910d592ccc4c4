"""The answer to an ask: awaited on the loop, waited for from other threads."""

import asyncio
import functools
import inspect
import queue
import sys
import threading
from asyncio import Future, get_running_loop
from collections.abc import Callable, Generator, Iterable, Iterator
from contextvars import ContextVar
from threading import get_ident
from types import TracebackType
from typing import Any, TypeVar

import pykka

from supervisors.faults import AskCycle

T = TypeVar("T")
M = TypeVar("M")

ExcInfo = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]
PENDING: Any = object()

# The ask being answered here: asks made meanwhile inherit its deadline and are checked for cycles.
current_ask: "ContextVar[Any]" = ContextVar("prodagent_current_ask", default=None)


def on_running_loop() -> bool:
    """Say whether this thread runs an event loop, so that blocking would freeze it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class Reply(pykka.Future[T]):
    """A pykka future that never blocks an event loop.

    `await reply` works on any loop; `reply.get()` blocks, so it is refused on a loop while the answer is out.
    Setting is done once; whoever waits is woken on its own loop or thread.
    """

    __slots__ = ("_error", "_thread", "_value", "_waiter", "_wakers", "cycle", "expiry")

    def __init__(self) -> None:  # pykka's own fields serve its get hooks, which block: not set here
        self._value: Any = PENDING
        self._error: BaseException | None = None
        self._waiter: asyncio.Future[Any] | None = None  # of the first that awaits, on the loop of _thread
        self._thread: int
        self._wakers: list[Callable[[], object]] | None = None  # of all others
        self.expiry: set[Any] | None = None  # where its deadline is kept
        self.cycle: tuple[Any, str] | None = None  # the ask handled when it was made, if that waits for it in turn

    def __repr__(self) -> str:
        return f"<Reply {'done' if self.done() else 'pending'}>"

    def done(self) -> bool:
        """Say whether the answer is there."""
        return self._value is not PENDING

    def set(self, value: T | None = None) -> None:
        """Answer with a value; a second answer raises queue.Full."""
        if self._value is not PENDING:
            raise queue.Full
        self._value = value
        waiter = self._waiter
        if waiter is not None:
            if get_ident() != self._thread:
                waiter.get_loop().call_soon_threadsafe(self._resolve, waiter)
            elif not waiter.done():
                waiter.set_result(value)
            self._waiter = None
        if self.expiry is not None:
            self._leave_expiry()
        if self._wakers is not None:
            self._wake_others()

    def set_exception(self, exc_info: ExcInfo | None = None) -> None:
        """Answer with an exception, by default the one being handled."""
        error = (exc_info or sys.exc_info())[1]
        if error is None and exc_info is not None and exc_info[0] is not None:
            error = exc_info[0]()
        self.fail(error or RuntimeError("set_exception() without an exception"))

    def fail(self, error: BaseException) -> None:
        """Answer with this exception."""
        if self._value is not PENDING:
            raise queue.Full
        self._error = error
        self._value = None
        waiter = self._waiter
        if waiter is not None:
            if get_ident() != self._thread:
                waiter.get_loop().call_soon_threadsafe(self._resolve, waiter)
            else:
                self._resolve(waiter)
        if self.expiry is not None:
            self._leave_expiry()
        if self._wakers is not None:
            self._wake_others()

    def expire(self) -> None:
        """End without an answer: the deadline has come."""
        if self._value is PENDING:
            self.fail(pykka.Timeout("no answer before the deadline of the ask"))

    def _resolve(self, waiter: asyncio.Future[Any]) -> None:
        """Wake one that awaits, on its loop."""
        if waiter.done():
            return
        error = self._error
        if error is None:
            waiter.set_result(self._value)
            return
        if isinstance(error, StopIteration):  # no future takes it
            error = RuntimeError(f"the handler raised {error!r}")
        waiter.set_exception(error)
        waiter.exception()  # whoever awaits it may be cancelled before it gets it: nothing to complain about

    def _leave_expiry(self) -> None:
        expiry, self.expiry = self.expiry, None
        if expiry is not None:
            expiry.discard(self)

    def _wake_others(self) -> None:
        wakers, self._wakers = self._wakers or (), None
        for waker in wakers:
            waker()

    def when_done(self, waker: Callable[[], object]) -> None:
        """Call `waker` once the answer is there, on the answering thread; it may be called twice."""
        if self._wakers is None:
            self._wakers = []
        self._wakers.append(waker)
        if self._value is not PENDING:  # answered by another thread meanwhile
            waker()

    def get(self, *, timeout: float | None = None) -> Any:
        """Return the answer or raise it; blocks for at most `timeout` seconds, off the loop only."""
        if self._value is PENDING:
            if on_running_loop():
                raise RuntimeError("get() would block the event loop: write 'await reply' instead")
            answered = threading.Event()
            self.when_done(answered.set)
            if not answered.wait(timeout):
                raise pykka.Timeout(f"{timeout} seconds")
        return self._result()

    def _result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._value

    def __await__(self) -> Iterator[Any]:  # type: ignore[override]
        if self._value is not PENDING:
            return self._answered()
        if self.cycle is not None and current_ask.get() is self.cycle[0] and not self.cycle[0].over:
            self.fail(AskCycle(self.cycle[1]))  # the message, being answered, is not handled any more
            return self._answered()
        thread = get_ident()
        waiter: asyncio.Future[Any] = Future(loop=self._loop_of(thread))
        if self._waiter is None:
            self._thread = thread
            self._waiter = waiter
            if self._value is not PENDING:  # answered by another thread meanwhile
                self._resolve(waiter)
        else:
            self.when_done(lambda: waiter.get_loop().call_soon_threadsafe(self._resolve, waiter))
        return waiter.__await__()

    __iter__ = __await__  # type: ignore[assignment]

    def _loop_of(self, _thread: int) -> asyncio.AbstractEventLoop:
        return get_running_loop()

    def _answered(self) -> Generator[Any, None, Any]:
        return self._result()
        yield

    def set_get_hook(self, func: Callable[[float | None], T]) -> None:
        """Refuse: pykka's get hooks run blocking code inside get()."""
        raise NotImplementedError("get hooks block; use map(), join() or await")

    def map(self, func: Callable[[T], M]) -> "Reply[M]":
        """Return a reply with `func` applied to this one's value."""
        return Derived([self], lambda values: func(values[0]))

    def filter(self, func: Callable[[Any], bool]) -> "Reply[Iterable[Any]]":
        """Return a reply with only the items that `func` accepts."""
        return Derived([self], lambda values: [item for item in values[0] if func(item)])

    def reduce(self, func: Callable[[Any, Any], Any], *args: Any) -> "Reply[Any]":
        """Return a reply with the items folded from the left by `func`."""
        return Derived([self], lambda values: functools.reduce(func, values[0], *args))

    def join(self, *futures: pykka.Future[Any]) -> "Reply[Iterable[Any]]":
        """Return a reply with the list of the answers of all."""
        return Derived([self, *futures], list)


class Derived(Reply[T]):
    """A reply computed from others when it is asked for."""

    def __init__(self, sources: list[pykka.Future[Any]], combine: Callable[[list[Any]], T]) -> None:
        super().__init__()
        self._sources = sources
        self._combine = combine

    def done(self) -> bool:
        """Say whether every source is there."""
        return all(not isinstance(source, Reply) or source.done() for source in self._sources)

    def get(self, *, timeout: float | None = None) -> Any:
        """Return the computed value; blocks as the sources do."""
        if self._value is PENDING:
            self._value = self._combine([source.get(timeout=timeout) for source in self._sources])
        return self._value

    def __await__(self) -> Generator[Any, None, T]:
        if self._value is PENDING:
            values = []
            for source in self._sources:
                values.append((yield from source.__await__()))  # noqa: PERF401 - no comprehension may yield
            self._value = self._combine(values)
        return self._value  # type: ignore[no-any-return]

    __iter__ = __await__


async def settled(result: Any) -> Any:
    """Wait for what a handler returned, if it can be waited for; a pykka future is an answer in itself."""
    if inspect.isawaitable(result) and not isinstance(result, pykka.Future):
        return await result
    return result

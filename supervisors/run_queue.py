"""Serves actors whose handlers are plain functions without waking their tasks: many in one turn of the loop.

An actor with `def on_receive` never waits inside a handler, so it needs its task only to start, to end and to fail. While that
task sleeps, a Doze lies where its waiter would be: who sends to the actor wakes the doze, and that puts the actor in the run queue.
"""

import asyncio
import inspect
from collections import deque
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pykka

from supervisors.envelope import Ask
from supervisors.mailbox import EMPTY
from supervisors.reply import PENDING, current_ask, settled

if TYPE_CHECKING:
    from supervisors.service import Service

_TURN = 128  # actors served before others get the loop
_MANY = range(32)  # messages of one actor handled with one look at the clock
_DEEP = 16  # asks answered inside one another; beyond, the stack could end
_INLINE = 64  # asks answered at once, after which one goes through the loop so that others get it
_queues: "WeakKeyDictionary[asyncio.AbstractEventLoop, RunQueue]" = WeakKeyDictionary()


class RunQueue:
    """The dozing actors of one loop that have messages."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._ready: deque[Doze] = deque()
        self._scheduled = False
        self.depth = 0

    def add(self, doze: "Doze") -> None:
        """Serve it in the next turn of the loop, or in this one if that has begun."""
        self._ready.append(doze)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._run)

    def _run(self) -> None:
        ready = self._ready
        for _ in range(_TURN):
            if not ready:
                break
            ready.popleft().serve()
        self._scheduled = bool(ready)
        if ready:
            self._loop.call_soon(self._run)


class Doze:
    """The sleep of one life: looks like the future that others wake, and serves what came without waking the task."""

    __slots__ = ("_inline", "_life", "_queue", "_queued", "error", "left", "nap")

    def __init__(self, life: "Service", loop: asyncio.AbstractEventLoop) -> None:
        self._life = life
        self._queue = _queue_of(loop)
        self._queued = False
        self._inline = 0
        self.nap: asyncio.Future[None] = loop.create_future()  # what the task itself sleeps on
        self.error: BaseException | None = None  # what a handler raised: the task fails of it
        self.left: Coroutine[Any, Any, Any] | None = None  # what a handler wants to be awaited

    def done(self) -> bool:
        """Say whether it is to be served, or is over."""
        return self._queued or self.nap.done()

    def __await__(self) -> Generator[Any, None, None]:
        try:
            yield from self.nap
        except BaseException:
            if self.left is not None:  # the task was cancelled before it got to it
                self.left.close()
            raise

    def set_result(self, _: None) -> None:
        """Put the actor in the run queue."""
        self._queued = True
        self._queue.add(self)

    def serve(self) -> None:
        """Let the actor handle what it has; whatever is not plain is left to its task."""
        self._queued = False
        self._inline = 0
        if not self.nap.done() and self._life.is_current():
            if self._life.hold:
                self.nap.set_result(None)
            else:
                self._serve_here()

    def answers(self, ask: Ask) -> bool:
        """Answer an ask here and now; False when it has to wait for its turn."""
        life = self._life
        queue = self._queue
        if self._queued or self._inline >= _INLINE or queue.depth >= _DEEP:
            return False
        if life.hold or life.cell.inbox or self.nap.done():
            return False
        self._inline += 1
        queue.depth += 1
        life.cell.inbox.append(ask)
        try:
            self._serve_here()
        finally:
            queue.depth -= 1
        return True

    def _serve_here(self) -> None:
        life = self._life
        life.cell.waiter = None
        if not life.context.run(self._handle):
            self.nap.set_result(None)
            return
        life.cell.waiter = self
        if life.cell.inbox or life.hold:  # looked at after the waiter is set: another thread may send
            self._inline = 0
            if not self._queued:
                self.set_result(None)

    def _handle(self) -> bool:
        """Handle what waits; False when the task must go on, as a handler failed or awaits something."""
        life = self._life
        inbox, watch, now = life.cell.inbox, life.watch, life.cell.clock.monotonic
        watch.since = now()
        if life.expiry is None:
            life.watch_handler()
        done = 0  # in this run
        try:
            for done in _MANY:  # noqa: B007 - read below
                if life.hold or not inbox:
                    break
                life.current = item = inbox.popleft()
                if item.__class__ in life.special:
                    self.left = self._answer(item) if item.__class__ is Ask else life.handle_special(item)
                elif (result := life.receive(item)) is not None and _must_wait(result):
                    self.left = settled(result)
                if self.left is not None:
                    return False
            else:
                done += 1
        except (Exception, asyncio.CancelledError) as error:
            self.error = error
            return False
        finally:
            watch.note(done, now())
        life.current = EMPTY
        return True

    def _answer(self, ask: Ask) -> Coroutine[Any, Any, Any] | None:
        life = self._life
        if ask._value is not PENDING or ask.message.__class__ in life.special:
            return life.answer(ask, ask)
        if ask.deadline is not None and ask.deadline <= life.watch.since:
            return life.answer(ask, ask)
        current_ask.set(ask)
        try:
            result = life.receive(ask.message)
        except Exception as error:
            life.answer_with_error(ask, error)
        else:
            if result is not None and _must_wait(result):
                return life.answer_later(ask, result)
            ask.set(result)
        ask.over = True
        return None


def _must_wait(result: Any) -> bool:
    """Say whether a handler returned what its task has to await; a pykka future is an answer in itself."""
    return inspect.isawaitable(result) and not isinstance(result, pykka.Future)


def _queue_of(loop: asyncio.AbstractEventLoop) -> RunQueue:
    queue = _queues.get(loop)
    if queue is None:
        for closed in [each for each in _queues if each.is_closed()]:
            del _queues[closed]
        queue = _queues[loop] = RunQueue(loop)
    return queue

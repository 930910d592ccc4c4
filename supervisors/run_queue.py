"""Serves actors without waking their tasks: many in one turn of the loop.

A life needs its task only to start, to end, to fail and to wait. While that task sleeps, a Doze lies where its waiter would be:
who sends to the actor wakes the doze, and that puts the actor in the run queue. A coroutine handler is begun there in the name of
the task, as Python 3.12's eager tasks are begun; when it waits for something, the task awaits the rest of it.
"""

import asyncio
import inspect
from asyncio.tasks import _enter_task, _leave_task
from collections import deque
from collections.abc import Coroutine
from random import Random
from types import CoroutineType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import pykka

from supervisors.envelope import Ask
from supervisors.mailbox import EMPTY
from supervisors.reply import PENDING, current_ask, settled
from supervisors.rest import OVER, Rest

if TYPE_CHECKING:
    from supervisors.service import Service

_TURN = 256  # messages handled before others get the loop, the first of an actor counted twice
_SLICE = 0.002  # seconds, after which others get it too
_MANY = range(32)  # messages of one actor handled with one look at the clock
_DEEP = 16  # asks answered inside one another; beyond, the stack could end
_INLINE = 64  # asks answered at once, after which one goes through the loop so that others get it
_queues: "WeakKeyDictionary[asyncio.AbstractEventLoop, RunQueue]" = WeakKeyDictionary()


class RunQueue:
    """The dozing actors of one loop that have messages.

    On a loop that has `dice`, as the virtual one, these decide who is served next, one in a turn, and whether here or by its task:
    so a test meets every order that may happen.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.dice: Random | None = getattr(loop, "dice", None)
        self._ready: deque[Doze] = deque()
        self._scheduled = False
        self.depth = 0
        self.budget = 0  # messages left for this turn

    def add(self, doze: "Doze") -> None:
        """Serve it in the next turn of the loop, or in this one if that has begun."""
        self._ready.append(doze)
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._run)

    def may_answer(self) -> bool:
        """Say whether an ask may be answered before it returns: on the running loop, and not too deep."""
        return self.depth < _DEEP and self.loop.is_running() and self.may_serve()

    def may_serve(self) -> bool:
        """Let the dice say whether to go on without the task."""
        return self.dice is None or self.dice.random() < 0.5

    def _run(self) -> None:
        ready, now = self._ready, self.loop.time
        end = now() + _SLICE
        self.budget = _TURN if self.dice is None else 1
        while ready and self.budget > 0 and now() <= end:
            if self.dice is not None:
                ready.rotate(self.dice.randrange(len(ready)))
            ready.popleft().serve()
        self._scheduled = bool(ready)
        if ready:
            self.loop.call_soon(self._run)


class Doze:
    """The sleeps of one life: looks like the future that others wake, and serves what came without waking the task."""

    __slots__ = ("_inline", "_life", "_queue", "_queued", "error", "left", "nap", "rest")

    def __init__(self, life: "Service", loop: asyncio.AbstractEventLoop) -> None:
        self._life = life
        self._queue = _queue_of(loop)
        self._queued = False
        self._inline = 0
        self.nap: asyncio.Future[None] | None = None  # what the task sleeps on, while it does
        self.error: BaseException | None = None  # what a handler raised: the task fails of it
        self.left: Coroutine[Any, Any, Any] | Rest | None = None  # what the task has to await
        self.rest: Rest | None = None  # the handler in it, if that was begun here

    def done(self) -> bool:
        """Say whether it is to be served, or is over."""
        return self._queued or self.nap is None or self.nap.done()

    def disturb(self, end: BaseException) -> None:
        """Take what met the sleeping task: a cancel is for what a handler left; whatever else ends that, and is raised."""
        self.nap = None
        if isinstance(end, asyncio.CancelledError):
            if self.rest is not None:
                self.rest.cancel(end)
                return
            if self.error is not None:
                return
        for left in (self.rest, self.left):
            if left is not None:
                left.close()
        raise end

    def set_result(self, _: None) -> None:
        """Put the actor in the run queue."""
        self._queued = True
        self._queue.add(self)

    def serve(self) -> None:
        """Let the actor handle what it has; its task does it when more is to be looked at, or many wait for coroutines."""
        self._queued = False
        self._inline = 0
        nap, life = self.nap, self._life
        if nap is None or nap.done() or not life.is_current():
            return
        many = len(life.cell.inbox) >= len(_MANY) and not life.plain
        if life.hold or many or not self._queue.may_serve():
            nap.set_result(None)
        else:
            self._serve_here(nap, None)

    def answers(self, ask: Ask) -> bool:
        """Answer an ask here and now, or begin to; False when it has to wait for its turn."""
        nap, life, queue = self.nap, self._life, self._queue
        if self._inline >= _INLINE or nap is None or nap.done():
            return False
        if life.hold or life.cell.inbox or not queue.may_answer():
            return False
        self._inline += 1
        queue.depth += 1
        life.cell.inbox.append(ask)
        try:
            self._serve_here(nap, asyncio.current_task(queue.loop))
        finally:
            queue.depth -= 1
        return True

    def _serve_here(self, nap: "asyncio.Future[None]", outer: "asyncio.Task[Any] | None") -> None:
        """Handle what waits in the name of the life's task, while that of who asks stands back."""
        life, loop = self._life, self._queue.loop
        life.cell.waiter = None
        if outer is not None:
            _leave_task(loop, outer)
        _enter_task(loop, life.task)
        try:
            handled = life.context.run(self._handle)
        finally:
            _leave_task(loop, life.task)
            if outer is not None:
                _enter_task(loop, outer)
        if not handled:
            if not nap.done():  # a handler may have cancelled its own task
                nap.set_result(None)
            return
        life.cell.waiter = self
        if life.cell.inbox or life.hold:  # looked at after the waiter is set: another thread may send
            self._inline = 0
            if not self._queued:
                self.set_result(None)

    def _handle(self) -> bool:
        """Handle what waits; False when the task must go on, as a handler failed or waits for something."""
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
                if item.__class__ not in life.special:
                    result = life.receive(item)
                    if result is not None:
                        self.left = self._begin(result)
                else:
                    self.left = self._answer(item) if item.__class__ is Ask else life.handle_special(item)
                if self.left is not None:
                    return False
            else:
                done += 1
        except BaseException as error:
            self.error = error
            return False
        finally:
            if done or self.left is None:  # else the first handler goes on, as old as it is
                watch.note(done, now())
            self._queue.budget -= done + 1
        life.current = EMPTY
        return True

    def _begin(self, result: Any) -> Coroutine[Any, Any, Any] | Rest | None:
        """Begin what a handler returned; what its task has to await, if anything."""
        if result.__class__ is CoroutineType:
            first = next(result.__await__(), OVER)  # cheaper than to catch the end
            if first is OVER:
                return None
            self.rest = Rest(result, first)
            return self.rest
        return settled(result) if _must_wait(result) else None

    def _answer(self, ask: Ask) -> Coroutine[Any, Any, Any] | None:
        life = self._life
        if ask._value is not PENDING or ask.message.__class__ in life.special:
            return life.answer(ask, ask)
        if ask.deadline is not None and ask.deadline <= life.watch.since:
            return life.answer(ask, ask)
        current_ask.set(ask)
        try:
            result = life.receive(ask.message)
            if result.__class__ is CoroutineType:
                try:
                    first = result.send(None)
                except StopIteration as end:
                    result = end.value
                else:
                    self.rest = Rest(result, first)
                    return life.answer_later(ask, self.rest)
            elif result is not None and _must_wait(result):
                return life.answer_later(ask, result)
        except Exception as error:
            life.answer_with_error(ask, error)
        except BaseException:
            ask.over = True
            raise
        else:
            life.answer_with(ask, result)
        ask.over = True
        current_ask.set(None)
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

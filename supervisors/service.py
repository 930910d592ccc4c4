"""Lets an instance handle the messages of its cell, one at a time, in order."""

import asyncio
import inspect
import logging
from asyncio import Future, Task
from collections.abc import Awaitable, Callable
from contextvars import Context
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import pykka
from pykka import messages

from supervisors.cell import Cell
from supervisors.dead_letters import Reason
from supervisors.envelope import Ask, Envelope
from supervisors.faults import Answer
from supervisors.mailbox import EMPTY, StopMark
from supervisors.reply import PENDING, Reply, current_ask, settled
from supervisors.run_queue import Doze
from supervisors.stopwatch import Stopwatch
from supervisors.ticks import Tick

if TYPE_CHECKING:
    from supervisors.actor import AsyncioActor

logger = logging.getLogger("prodagent.actor")

SLICE = 0.002  # seconds, and
BUDGET = 256  # messages, after which other tasks get the loop
ONE = range(1)
MANY = range(32)  # messages handled with one look at the clock, while none of them waits
DEEP = len(MANY)
_PYKKA_OWN = frozenset({messages.ProxyCall, messages.ProxyGetAttr, messages.ProxySetAttr})
_SPECIAL = _PYKKA_OWN | {Ask, Envelope, StopMark}


class Service:
    """What a life does between its start and its end: take, handle, answer. A life that is not its cell's takes nothing."""

    __slots__ = (
        "_marked", "_stop", "actor", "cell", "context", "current", "expiry", "hold", "leaving", "plain", "receive",
        "stopped", "watch",
    )  # fmt: skip
    special = _SPECIAL  # kinds of items that are more than the message itself
    context: Context  # of its task
    task: Task[None]

    def __init__(self, cell: Cell, actor: "AsyncioActor") -> None:
        self.cell = cell
        self.actor = actor
        self.current: Any = EMPTY
        self.watch = Stopwatch()
        self.expiry: set[Any] | None = None  # where the next look at the handler is noted
        self._marked = False  # `_waited` is to be called in the next turn of the loop
        self.hold = False  # something is to be done before the next message
        self.leaving = False  # takes no further message
        self.stopped = False  # ended by a stop message
        self._stop: Envelope | None = None
        self.set_handler(actor.on_receive)

    def set_handler(self, receive: Callable[[Any], Any]) -> None:
        """Handle messages with this from now on."""
        self.receive = receive
        self.plain = not inspect.iscoroutinefunction(receive)  # then its task can sleep on, however many wait

    def watch_handler(self) -> None:
        """Have somebody look whether the handler is overdue."""
        raise NotImplementedError

    def is_current(self) -> bool:
        """Say whether this life still owns its cell."""
        return self.cell.life is self

    async def _serve(self) -> None:  # noqa: C901 - in one piece: each call saved is a tenth of a message
        cell, inbox, watch, loop = self.cell, self.cell.inbox, self.watch, asyncio.get_running_loop()
        now = cell.clock.monotonic
        doze = Doze(self, loop)
        turn = watch.since = now()
        budget = BUDGET
        while not self.leaving:
            if not (inbox or self.hold):
                cell.waiter = doze
                if inbox or self.hold:  # it came from another thread meanwhile
                    cell.waiter = None
                else:
                    doze.nap = Future(loop=loop)
                    try:
                        await doze.nap
                    except BaseException as end:
                        doze.disturb(end)
                    if doze.error is not None or doze.left is not None:
                        await self._get_up(doze)
                turn = watch.since = now()
                budget = BUDGET
                continue  # it may have been woken for nothing
            if budget <= 0 or watch.since - turn > SLICE:
                await asyncio.sleep(0)
                turn = watch.since = now()
                budget = BUDGET
            if self.expiry is None:
                self.watch_handler()
            if self.hold:
                await self._serve_held()
                budget -= 1
                continue
            run = ONE if len(inbox) < DEEP else self._many(loop)
            done = 0  # in this run
            try:
                for done in run:  # noqa: B007 - read below
                    if self.hold or not inbox:
                        break
                    self.current = item = inbox.popleft()
                    if item.__class__ in _SPECIAL:
                        await (self.answer(item, item) if item.__class__ is Ask else self.handle_special(item))
                    else:
                        result = self.receive(item)
                        if result.__class__ is CoroutineType:
                            await result
                        elif result is not None:
                            await settled(result)
                else:
                    done += 1
            finally:
                watch.note(done, now())
            self.current = item = EMPTY  # an idle actor keeps no message
            budget -= done

    def _many(self, loop: asyncio.AbstractEventLoop) -> range:
        """Prepare to handle many messages with one look at the clock."""
        self.cell.mailbox.note_depth()
        if not self._marked:
            self._marked = True
            loop.call_soon(self._waited)
        return MANY

    def _waited(self) -> None:
        """Read the clock before the next message: a handler waits in the midst of many."""
        self._marked = False
        if self.current is not EMPTY:
            self.hold = True

    async def _get_up(self, doze: Doze) -> None:
        """Fail of what a handler raised in the run queue, or await what it left."""
        if doze.error is not None:
            raise doze.error
        left, doze.left, doze.rest = doze.left, None, None
        if left is not None:
            await left
            self.watch.note(1, self.cell.clock.monotonic())
            self.current = EMPTY

    async def _serve_held(self) -> None:
        """Take one message by the long way, as there is more to look at than the inbox."""
        item = await self._next_held()
        if item is EMPTY:
            return
        watch, now = self.watch, self.cell.clock.monotonic
        watch.since = now()
        self.current = item
        try:
            if item.__class__ in _SPECIAL:
                await (self.answer(item, item) if item.__class__ is Ask else self.handle_special(item))
            else:
                await settled(self.receive(item))
        finally:
            watch.note(1, now())
        self.current = EMPTY

    def _hold_if_needed(self) -> None:
        self.hold = False
        cell = self.cell  # looked at after the flag is down: another thread may put it up
        if cell.paused or cell.senders or cell.mailbox.special:
            self.hold = True

    async def _next_held(self) -> Any:
        """Do what is asked for between two messages, then take one; EMPTY to look again before that."""
        self.current = EMPTY
        cell = self.cell
        if self.leaving or cell.life is not self:
            self.leaving = True
            return EMPTY
        if cell.paused:
            cell.waiter = asyncio.get_running_loop().create_future()
            await cell.waiter
            return EMPTY
        cell.let_one_send()
        self._hold_if_needed()
        return cell.mailbox.take()

    async def handle_special(self, item: Any) -> None:
        """Handle what is not a plain message: an envelope, a stop, or pykka's own messages."""
        if item.__class__ is Envelope:
            message = item.message
            if item.reply_to is not None:
                await self.answer(item, item.reply_to)
                return
            if item.unique:
                self.cell.mailbox.uniques.discard(message)
            if message.__class__ is Tick:
                self.cell.ticker.taken(message.name)
            serve = self.actor.serve_proxy if message.__class__ in _PYKKA_OWN else self.receive
            await settled(serve(message))
        elif item.__class__ is StopMark:
            self.current = EMPTY
            self.hold = True  # what comes behind it waits
            if self.cell.mailbox.close_level(item.level):
                self.stopped = self.leaving = self.hold = True
                self._stop = item.envelope
        else:
            await settled(self.actor.serve_proxy(item))

    async def answer(self, ask: Envelope, reply: Reply[Any]) -> None:
        """Handle an ask and give its answer, unless its time is over."""
        if reply._value is not PENDING or (ask.deadline is not None and ask.deadline <= self.watch.since):
            self.cell.bury(ask, Reason.EXPIRED, pykka.Timeout("the ask expired before its turn"))
            return
        current_ask.set(ask)
        message = ask.message
        try:
            result = self.actor.serve_proxy(message) if message.__class__ in _PYKKA_OWN else self.receive(message)
            if result.__class__ is CoroutineType:
                result = await result
            elif result is not None:
                result = await settled(result)
        except Exception as error:
            self.answer_with_error(reply, error)
        else:
            self.answer_with(reply, result)
        finally:
            ask.over = True
            current_ask.set(None)

    async def answer_later(self, ask: Ask, result: Awaitable[Any]) -> None:
        """Give the answer once it is there."""
        try:
            answer = await result
        except Exception as error:
            self.answer_with_error(ask, error)
        else:
            self.answer_with(ask, answer)
        finally:
            ask.over = True
            current_ask.set(None)

    def answer_with(self, reply: Reply[Any], result: Any) -> None:
        """Give the asker what the handler returned."""
        if self.cell.life is self and reply._value is PENDING:
            reply.set(result)
        else:
            self._may_answer(reply)

    def answer_with_error(self, reply: Reply[Any], error: Exception) -> None:
        """Give the asker what the handler raised."""
        if isinstance(error, Answer):
            what = type(reply.message).__name__ if isinstance(reply, Ask) else "a message"
            logger.info("%s refuses %s: %s", self.cell.name, what, error)
        else:
            logger.info("Exception returned from %s to caller:", self.cell.ref, exc_info=error)
        if self._may_answer(reply):
            reply.fail(error)

    def _may_answer(self, reply: Reply[Any]) -> bool:
        if reply._value is not PENDING:
            self.cell.late_replies += 1
            return False
        return self.cell.life is self  # else a fresh instance answers

"""One life of an actor: an instance from its on_start to its end, run as one asyncio task."""

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Iterable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import pykka
from pykka import messages

from supervisors.cell import Cell
from supervisors.dead_letters import Reason
from supervisors.envelope import Ask, Envelope
from supervisors.faults import HandlerCancelled, HandlerOverdue, StartOverdue
from supervisors.mailbox import EMPTY, StopMark
from supervisors.reply import PENDING, Reply, current_ask, settled
from supervisors.stacks import coroutine_stack
from supervisors.state import State
from supervisors.stopwatch import MOST, Stopwatch
from supervisors.ticks import Tick, Timers
from supervisors.tracing import Trace, traced

if TYPE_CHECKING:
    from supervisors.actor import AsyncioActor

logger = logging.getLogger("prodagent.actor")

BATCH = range(64)  # messages handled before other tasks get the loop
_PYKKA_OWN = frozenset({messages.ProxyCall, messages.ProxyGetAttr, messages.ProxySetAttr})
_SPECIAL = _PYKKA_OWN | {Ask, Envelope, StopMark}
_ABANDON_AFTER = 1.0
_NEVER: set[Any] = set()  # the deadline of handlers that have none


class Life:
    """An instance of an actor and its task: a life that is no longer its cell's takes no message, whatever it still does."""

    __slots__ = (
        "_handler_deadline", "_on_end", "_overdue", "_patience", "_patience_timer", "_redeliver", "_start_timeout",
        "_step", "_stop", "_timers", "actor", "born", "cell", "current", "error", "expiry", "generation", "hold",
        "leaving", "ready", "receive", "retired", "stack", "started", "stopped", "task", "watch",
    )  # fmt: skip

    def __init__(
        self,
        cell: Cell,
        actor: "AsyncioActor",
        on_end: Callable[["Life"], None],
        *,
        start_timeout: float | None = None,
        handler_deadline: float | None = None,
        patience: float = _ABANDON_AFTER,
        redeliver: int = 0,
    ) -> None:
        self.cell = cell
        self.actor = actor
        self._timers: Timers | None = None
        self.current: Any = EMPTY
        self.watch = Stopwatch()
        self.ready: Future[None] | None = None  # until the start is done or has failed
        self.error: BaseException | None = None
        self.hold = False  # something is to be done before the next message
        self.leaving = False  # takes no further message
        self.retired = False  # ended by its supervisor
        self.stopped = False  # ended by a stop message
        self.born = 0.0
        self.receive: Callable[[Any], Any] = actor.on_receive
        self.started = False
        self.stack = ""  # where the handler stood that was overdue
        self._overdue: Exception | None = None
        self._patience = patience
        self._on_end = on_end
        self._start_timeout = start_timeout
        self._handler_deadline = handler_deadline
        self._step = min((handler_deadline or 0.0, *actor.deadlines.values()))  # between two looks at the handler
        self._redeliver = redeliver
        self.expiry: set[Any] | None = None  # where the next look is noted
        self._patience_timer: asyncio.TimerHandle | None = None
        self._stop: Envelope | None = None

    @property
    def timers(self) -> Timers:
        """The timers that end with this life."""
        if self._timers is None:
            self._timers = Timers(self.cell.deliver)
        return self._timers

    def retrace(self, traces: Iterable[Trace]) -> None:
        """Record what those traces want of this actor."""
        self.receive = traced(self.actor.on_receive, self.cell.name, self.cell.clock, traces)

    def begin(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Become the cell's life and start running; the result is done when it is ready or has failed."""
        cell = self.cell
        cell.generation += 1
        self.generation = cell.generation
        cell.life = self
        if cell.system is not None and cell.system.traces:
            self.retrace(cell.system.traces)
        self.actor.lived = True
        cell.base_state = State.STARTING
        cell.waiter = None
        self._hold_if_needed()
        self.ready = ready = loop.create_future()
        self.born = cell.clock.monotonic()
        self.task = loop.create_task(self._run(), name=f"{cell.name}#{self.generation}")
        self.task.add_done_callback(self._ended)
        return ready

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._timers is not None:
            self._timers.clear()
        if self._patience_timer is not None:
            self._patience_timer.cancel()
        self._unwatch()
        if not task.cancelled() and task.exception() is not None and self.error is None:
            self.error = task.exception()
        self._set_ready()
        self._on_end(self)

    async def _run(self) -> None:
        current_ask.set(None)
        try:
            await self._start()
            await self._serve()
        except asyncio.CancelledError:
            self.task.uncancel()
            if not self.retired:
                self.error = HandlerCancelled(f"{self.cell.name}: its handler let a cancel through")
        except Exception as error:
            self.error = error
        if self.retired or (self.error is None and self._overdue is None):
            await self._say_goodbye()
        else:
            await self._fail(self._overdue or self.error)

    async def _start(self) -> None:
        if self._start_timeout is not None and self.cell.deadlines is not None:
            self.cell.deadlines.add(self, self.born + self._start_timeout)
        await settled(self.actor.on_start())
        self._unwatch()
        self.started = True
        if self.is_current():
            self.cell.base_state = State.RUNNING
        self._set_ready()

    def _set_ready(self) -> None:
        ready, self.ready = self.ready, None  # who waits for it holds it
        if ready is not None and not ready.done():
            ready.set_result(None)

    def is_current(self) -> bool:
        """Say whether this life still owns its cell."""
        return self.cell.life is self

    async def _serve(self) -> None:
        cell, inbox, watch, loop = self.cell, self.cell.inbox, self.watch, asyncio.get_running_loop()
        now, took = cell.clock.monotonic, watch.took
        while not self.leaving:
            if not (inbox or self.hold):
                waiter: Future[None] = Future(loop=loop)
                cell.waiter = waiter
                if inbox or self.hold:  # it came from another thread meanwhile
                    cell.waiter = None
                else:
                    await waiter
            if self.expiry is None or len(inbox) > 1 or len(took) > MOST:
                self._look()
            began = watch.since = now()
            for _ in BATCH:
                if self.hold:
                    item = await self._next_held()
                    if item is EMPTY:
                        break
                elif inbox:
                    item = inbox.popleft()
                else:
                    break
                self.current = item
                if item.__class__ in _SPECIAL:
                    await (self._answer(item, item) if item.__class__ is Ask else self._handle_special(item))
                else:
                    result = self.receive(item)
                    if result.__class__ is CoroutineType:
                        await result
                    elif result is not None:
                        await settled(result)
                ended = now()
                took.append(ended - began)
                began = watch.since = ended
            else:
                self.current = EMPTY
                await asyncio.sleep(0)
            self.current = EMPTY

    def _look(self) -> None:
        """Do what a batch needs now and then."""
        self.cell.mailbox.note_depth()
        if len(self.watch.took) > MOST:
            self.watch.shorten()
        if self.expiry is None:
            self._watch_handler(self._step)

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

    async def _handle_special(self, item: Any) -> None:
        """Handle what is not a plain message: an envelope, a stop, or pykka's own messages."""
        if item.__class__ is Envelope:
            message = item.message
            if item.reply_to is not None:
                await self._answer(item, item.reply_to)
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

    async def _answer(self, ask: Envelope, reply: Reply[Any]) -> None:
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
            logger.info("Exception returned from %s to caller:", self.cell.ref, exc_info=error)
            if self._may_answer(reply):
                reply.fail(error)
        else:
            if self.cell.life is self and reply._value is PENDING:
                reply.set(result)
            else:
                self._may_answer(reply)
        finally:
            ask.over = True

    def _may_answer(self, reply: Reply[Any]) -> bool:
        if reply._value is not PENDING:
            self.cell.late_replies += 1
            return False
        return self.cell.life is self  # else a fresh instance answers

    # deadlines of handlers

    def _watch_handler(self, seconds: float) -> None:
        if self._handler_deadline is None or self.cell.deadlines is None:
            self.expiry = _NEVER
        else:
            self.cell.deadlines.add(self, self.cell.clock.monotonic() + seconds)

    def _unwatch(self) -> None:
        if self.expiry is not None:
            self.expiry.discard(self)
            self.expiry = None

    def overdue_for(self) -> float:
        """Return for how many seconds the handler is beyond its deadline; negative while it has time."""
        if self.current is EMPTY or self._handler_deadline is None:
            return -self._step
        limit = self.actor.deadlines.get(type(self._message()), self._handler_deadline)
        return self.cell.clock.monotonic() - self.watch.since - limit

    def _message(self) -> Any:
        return self.current.message if isinstance(self.current, Envelope) else self.current

    def expire(self) -> None:
        """Look whether the start or the handler is overdue; if so, end this life."""
        if not self.is_current():
            return
        name = self.cell.name
        if not self.started:
            self._end_overdue(StartOverdue(f"{name}: on_start took over {self._start_timeout} s"))
        elif self.current is not EMPTY:
            late = self.overdue_for()
            if late < -1e-6:
                self._watch_handler(min(-late, self._step))
                return
            age = self.cell.clock.monotonic() - self.watch.since
            self._end_overdue(HandlerOverdue(f"{name}: {type(self._message()).__name__} took over {age:.1f} s"))

    def _end_overdue(self, overdue: Exception) -> None:
        self._overdue = overdue
        self.leaving = self.hold = True
        self.stack = coroutine_stack(self.task)
        logger.error("%s; it stood at\n%s", overdue, self.stack)
        self.task.cancel()
        self._patience_timer = asyncio.get_running_loop().call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        if self.is_current() and not self.task.done():
            logger.critical("%s: the overdue handler refuses to be cancelled and is left behind", self.cell.name)
            self.error = self._overdue
            self._on_end(self)

    # ending

    async def _fail(self, error: BaseException | None) -> None:
        self.error = error
        self.cell.disappear()
        if error is None or not self.started:
            return
        try:
            async with asyncio.timeout(self._start_timeout):
                await settled(self.actor.on_failure(type(error), error, error.__traceback__))
        except Exception:
            logger.exception("Unhandled exception in %s:", self.cell.ref)

    async def _say_goodbye(self) -> None:
        self.cell.disappear()
        if not self.started:
            return
        try:
            await settled(self.actor.on_stop())
        except Exception as error:
            if self.retired:
                logger.exception("Unhandled exception in %s:", self.cell.ref)
            else:
                self.error = error

    def confirm_stop(self) -> None:
        """Answer the stop message that ended this life."""
        reply = None if self._stop is None else self._stop.reply_to
        if reply is not None and not reply.done():
            reply.set(True)

    def fence(self) -> None:
        """Take the cell away from this life: from now on it handles nothing more."""
        self.hold = True
        self.cell.release(self)

    def leave(self) -> None:
        """End after the handler that runs now."""
        self.leaving = self.hold = True
        if self.is_current():
            self.cell.wake()

    async def end(self, patience: float, *, abort: bool = False) -> bool:
        """End this life; False when its handler refuses to be cancelled and was left behind.

        Gently, it may finish its handler within `patience` seconds; with `abort` that is cancelled at once. Either
        way on_stop gets its chance.
        """
        if self.task.done():
            return True
        self.leave()
        self.retired = True
        if abort:
            self.fence()
            self.task.cancel()
        for wait in (patience, _ABANDON_AFTER):
            if (await asyncio.wait({self.task}, timeout=wait))[0]:
                return True
            self.fence()
            self.task.cancel()
        return bool((await asyncio.wait({self.task}, timeout=_ABANDON_AFTER))[0])

    def return_message(self, error: BaseException | None) -> None:
        """Give the message in flight back to the mailbox, or bury it when it has killed often enough."""
        item, self.current = self.current, EMPTY
        if item is not EMPTY:
            self.cell.take_back(item, error, self._redeliver)

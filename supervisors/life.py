"""One life of an actor: an instance from its on_start to its end, run as one asyncio task."""

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from types import CoroutineType
from typing import TYPE_CHECKING, Any

import pykka
from pykka import messages

from supervisors.cell import Cell, State
from supervisors.dead_letters import Reason
from supervisors.envelope import Envelope
from supervisors.faults import HandlerCancelled, HandlerOverdue, StartOverdue, Transient
from supervisors.mailbox import EMPTY, StopMark
from supervisors.reply import Reply, current_ask
from supervisors.stacks import coroutine_stack
from supervisors.ticks import Tick, Timers
from supervisors.tracing import Trace, traced

if TYPE_CHECKING:
    from supervisors.actor import AsyncioActor

logger = logging.getLogger("prodagent.actor")

BATCH = range(64)  # messages handled before other tasks get the loop
_SLOW = 0.001  # seconds; while such a handler ran the mailbox may have grown
RECENT = 128  # handler times kept for the percentiles
_PYKKA_OWN = frozenset({messages.ProxyCall, messages.ProxyGetAttr, messages.ProxySetAttr})
_SPECIAL = _PYKKA_OWN | {Envelope, StopMark}
_ABANDON_AFTER = 1.0


class Life:
    """An instance of an actor and the task that runs it.

    A cell has at most one life; a life that is no longer its cell's takes no message, whatever its handler still does.
    """

    __slots__ = (
        "_deadline_step", "_deadline_timer", "_handler_deadline", "_on_end", "_overdue", "_patience", "_redeliver",
        "_start_timeout", "_stop", "_timers", "actor", "born", "cell", "current", "error", "generation", "hold",
        "leaving", "ready", "receive", "recent", "retired", "since", "stack", "started", "stopped", "task",
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
        self.since = 0.0
        self.error: BaseException | None = None
        self.hold = False  # something is to be done before the next message
        self.leaving = False  # takes no further message
        self.retired = False  # ended by its supervisor
        self.stopped = False  # ended by a stop message
        self.born = 0.0
        self.recent = deque[float](maxlen=RECENT)
        self.receive: Callable[[Any], Any] = actor.on_receive
        self.started = False
        self.stack = ""  # where the handler stood that was overdue
        self._overdue: HandlerOverdue | None = None
        self._patience = patience
        self._on_end = on_end
        self._start_timeout = start_timeout
        self._handler_deadline = handler_deadline
        self._deadline_step = min((handler_deadline or 0.0, *actor.deadlines.values()))
        self._redeliver = redeliver
        self._deadline_timer: asyncio.TimerHandle | None = None
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

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Become the cell's life and start running."""
        cell = self.cell
        cell.generation += 1
        self.generation = cell.generation
        cell.life = self
        if cell.system is not None and cell.system.traces:
            self.retrace(cell.system.traces)
        self.actor.lived = True
        cell.base_state = State.STARTING
        cell.waiter = None
        self.hold = cell.paused or bool(cell.senders)
        self.ready: asyncio.Future[None] = loop.create_future()
        self.born = cell.clock.monotonic()
        self.task = loop.create_task(self._run(), name=f"{cell.name}#{self.generation}")
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._timers is not None:
            self._timers.clear()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()
        if not task.cancelled() and task.exception() is not None and self.error is None:
            self.error = task.exception()
        if not self.ready.done():
            self.ready.set_result(None)
        self._on_end(self)

    async def _run(self) -> None:
        current_ask.set(None)
        try:
            await self._start()
            await self._serve()
        except asyncio.CancelledError:
            self._uncancel()
            if not self.retired:
                self.error = HandlerCancelled(f"{self.cell.name}: its handler let a cancel through")
        except Exception as error:
            self.error = error
        if self.retired or (self.error is None and self._overdue is None):
            await self._say_goodbye()
        else:
            await self._fail(self._overdue or self.error)

    def _uncancel(self) -> None:
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()

    async def _start(self) -> None:
        limit = asyncio.timeout(self._start_timeout)
        try:
            async with limit:
                await _settled(self.actor.on_start())
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise StartOverdue(f"{self.cell.name}: on_start took over {self._start_timeout} s") from error
        self.started = True
        if self.is_current():
            self.cell.base_state = State.RUNNING
        if not self.ready.done():
            self.ready.set_result(None)

    def is_current(self) -> bool:
        """Say whether this life still owns its cell."""
        return self.cell.life is self

    async def _serve(self) -> None:
        cell, mailbox, add_recent = self.cell, self.cell.mailbox, self.recent.append
        now, create_future = cell.clock.monotonic, asyncio.get_running_loop().create_future
        while not self.leaving:
            if self._deadline_timer is None:
                self._watch_handler(self._deadline_step)
            self.current = EMPTY
            mailbox.note_depth()
            began = now()
            for _ in BATCH:
                if self.hold and await self._held():
                    break
                lane = mailbox.normal
                item = lane.popleft() if lane and not mailbox.urgent and not mailbox.bulk else mailbox.take()
                if item is EMPTY:
                    self.current = EMPTY
                    cell.waiter = waiter = create_future()
                    await waiter
                    break
                self.current = item
                self.since = began
                kind = item.__class__
                if kind is Envelope and item.reply_to is not None:
                    await self._answer(item)
                elif kind in _SPECIAL:
                    await self._handle_special(item)
                else:
                    result = self.receive(item)
                    if result.__class__ is CoroutineType:
                        await result
                    elif result is not None:
                        await _settled(result)
                ended = now()
                took = ended - began
                if took > _SLOW:
                    mailbox.note_depth()
                add_recent(took)
                cell.handled += 1
                began = ended
            else:
                self.current = EMPTY
                await asyncio.sleep(0)
        self.current = EMPTY

    async def _held(self) -> bool:
        """Do what is asked for between two messages; True to look again before taking one."""
        self.current = EMPTY
        cell = self.cell
        if self.leaving or cell.life is not self:
            self.leaving = True
            return True
        if cell.paused:
            cell.waiter = asyncio.get_running_loop().create_future()
            await cell.waiter
            return True
        cell.let_one_send()
        self.hold = bool(cell.senders)
        return False

    async def _handle_special(self, item: Any) -> None:
        """Handle what is not a plain message: an envelope, a stop, or pykka's own messages."""
        if item.__class__ is Envelope:
            message = item.message
            if item.unique:
                self.cell.mailbox.uniques.discard(message)
            if message.__class__ is Tick:
                self.cell.ticker.taken(message.name)
            await _settled(self._receive(message))
        elif item.__class__ is StopMark:
            self.current = EMPTY
            if self.cell.mailbox.close_level(item.level):
                self.stopped = self.leaving = self.hold = True
                self._stop = item.envelope
        else:
            await _settled(self.actor.serve_proxy(item))

    async def _answer(self, ask: Envelope) -> None:
        reply: Any = ask.reply_to
        if reply.done() or (ask.deadline is not None and ask.deadline <= self.since):
            self.cell.bury(ask, Reason.EXPIRED, pykka.Timeout("the ask expired before its turn"))
            return
        current_ask.set(ask)
        try:
            result = self._receive(ask.message)
            if result.__class__ is CoroutineType:
                result = await result
            elif result is not None:
                result = await _settled(result)
        except Exception as error:
            logger.info("Exception returned from %s to caller:", self.cell.ref, exc_info=error)
            if self._may_answer(reply):
                reply.fail(error)
        else:
            if self._may_answer(reply):
                reply.set(result)
        finally:
            current_ask.set(None)

    def _may_answer(self, reply: Reply[Any]) -> bool:
        if reply.done():
            self.cell.late_replies += 1
            return False
        return self.is_current()  # else a fresh instance answers

    def _receive(self, message: Any) -> Any:
        return self.actor.serve_proxy(message) if message.__class__ in _PYKKA_OWN else self.receive(message)

    # deadlines of handlers

    def _watch_handler(self, seconds: float) -> None:
        if self._handler_deadline is not None:
            self._deadline_timer = asyncio.get_running_loop().call_later(seconds, self._check_handler)

    def overdue_for(self) -> float:
        """Return for how many seconds the handler is beyond its deadline; negative while it has time."""
        if self.current is EMPTY or self._handler_deadline is None:
            return -self._deadline_step
        limit = self.actor.deadlines.get(type(self._message()), self._handler_deadline)
        return self.cell.clock.monotonic() - self.since - limit

    def _message(self) -> Any:
        return self.current.message if type(self.current) is Envelope else self.current

    def _check_handler(self) -> None:
        self._deadline_timer = None
        if self.current is EMPTY or not self.is_current():
            return
        late = self.overdue_for()
        if late < -1e-6:
            self._watch_handler(min(-late, self._deadline_step))
            return
        age = self.cell.clock.monotonic() - self.since
        overdue = HandlerOverdue(f"{self.cell.name}: {type(self._message()).__name__} took over {age:.1f} s")
        self._overdue = overdue
        self.leaving = self.hold = True
        self.stack = coroutine_stack(self.task)
        logger.error("%s; it stood at\n%s", overdue, self.stack)
        self.task.cancel()
        self._deadline_timer = asyncio.get_running_loop().call_later(self._patience, self._give_up)

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
                await _settled(self.actor.on_failure(type(error), error, error.__traceback__))
        except Exception:
            logger.exception("Unhandled exception in %s:", self.cell.ref)

    async def _say_goodbye(self) -> None:
        self.cell.disappear()
        if not self.started:
            return
        try:
            await _settled(self.actor.on_stop())
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
        if self.is_current():
            self.cell.life = None
            self.cell.waiter = None

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
        if item is EMPTY:
            return
        envelope = item if type(item) is Envelope else Envelope(item)
        if isinstance(envelope.message, Tick):
            return
        if error is not None and not isinstance(error, Transient):
            envelope.tries += 1
            if envelope.tries > self._redeliver:
                self.cell.bury(envelope, Reason.KILLED_ITS_ACTOR, error)
                return
        self.cell.mailbox.put_back(envelope)


async def _settled(result: Any) -> Any:
    """Wait for what a handler returned, if it can be waited for; a pykka future is an answer in itself."""
    if inspect.isawaitable(result) and not isinstance(result, pykka.Future):
        return await result
    return result

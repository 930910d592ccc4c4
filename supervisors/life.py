"""One life of an actor: an instance from its on_start to its end, run as one asyncio task."""

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable, Iterable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from supervisors.cell import Cell
from supervisors.envelope import Envelope
from supervisors.faults import HandlerCancelled, HandlerOverdue, StartOverdue
from supervisors.mailbox import EMPTY
from supervisors.reply import current_ask, settled
from supervisors.service import Service
from supervisors.stacks import coroutine_stack
from supervisors.state import State
from supervisors.ticks import Timers
from supervisors.tracing import Trace, traced

if TYPE_CHECKING:
    from supervisors.actor import AsyncioActor

logger = logging.getLogger("prodagent.actor")

_ABANDON_AFTER = 1.0
_NEVER: set[Any] = set()  # the deadline of handlers that have none


class Life(Service):
    """An instance of an actor and its task: a life that is no longer its cell's takes no message, whatever it still does."""

    __slots__ = (
        "_handler_deadline", "_on_end", "_overdue", "_patience", "_patience_timer", "_redeliver", "_start_timeout",
        "_step", "_timers", "born", "error", "generation", "ready", "retired", "stack", "started", "task",
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
        super().__init__(cell, actor)
        self._timers: Timers | None = None
        self.ready: Future[None] | None = None  # until the start is done or has failed
        self.error: BaseException | None = None
        self.retired = False  # ended by its supervisor
        self.born = 0.0
        self.started = False
        self.stack = ""  # where the handler stood that was overdue
        self._overdue: Exception | None = None
        self._patience = patience
        self._on_end = on_end
        self._start_timeout = start_timeout
        self._handler_deadline = handler_deadline
        self._step = min((handler_deadline or 0.0, *actor.deadlines.values()))  # between two looks at the handler
        self._redeliver = redeliver
        self._patience_timer: asyncio.TimerHandle | None = None

    @property
    def timers(self) -> Timers:
        """The timers that end with this life."""
        if self._timers is None:
            self._timers = Timers(self.cell.deliver)
        return self._timers

    def retrace(self, traces: Iterable[Trace]) -> None:
        """Record what those traces want of this actor."""
        self.set_handler(traced(self.actor.on_receive, self.cell.name, self.cell.clock, traces))

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
        self.context = copy_context()
        self.task = loop.create_task(self._run(), name=f"{cell.name}#{self.generation}", context=self.context)
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

    # deadlines of handlers

    def watch_handler(self) -> None:
        """Have somebody look whether the handler is overdue."""
        self._watch_handler(self._step)

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

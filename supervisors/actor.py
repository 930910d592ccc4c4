"""The class that every actor extends."""

import asyncio
import logging
import threading
from collections.abc import Hashable
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar

import pykka
from pykka import messages

from supervisors.cell import Cell
from supervisors.clock import Clock
from supervisors.dead_letters import Reason
from supervisors.life import Life
from supervisors.mailbox import MailboxOptions
from supervisors.ref import ActorRef
from supervisors.reply import Reply
from supervisors.state import Down, State

if TYPE_CHECKING:
    from supervisors.system import ActorSystem

logger = logging.getLogger("prodagent.actor")

cell_of_newborn: ContextVar[Cell | None] = ContextVar("prodagent_cell_of_newborn", default=None)


_PykkaActor: Any = pykka.Actor  # its hooks are plain functions, ours are coroutines: no type checker would take both


class AsyncioActor(_PykkaActor):  # type: ignore[misc]
    """An actor that runs as one asyncio task: one message at a time, in order.

    Override `on_receive` and, where needed, `on_start`, `on_stop`, `on_failure`; each may be `async def` or `def`.
    """

    deadlines: ClassVar[dict[type, float]] = {}  # seconds a handler may take, by message type
    event_loop: ClassVar[asyncio.AbstractEventLoop | None] = None  # where start() from another thread runs it

    ref_class: ClassVar[type[ActorRef[Any]]] = ActorRef
    lived = False  # an instance runs once
    name: str
    system: "ActorSystem | None"

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        cell = cell_of_newborn.get()
        if cell is None:
            cell = Cell(type(self).__name__, MailboxOptions())
        else:
            cell_of_newborn.set(None)  # an actor made inside this constructor is another one
        self.bind(cell)

    def bind(self, cell: Cell) -> None:
        """Take on the identity that the cell keeps: address, mailbox, name."""
        if getattr(cell, "ref", None) is None:
            cell.ref = self.ref_class(cell, type(self))
        cell.ref.point_to(self)
        self._cell = cell
        self._actor_ref: ActorRef[Any] = cell.ref
        self.actor_inbox = cell
        self.name = cell.name
        self.system = cell.system

    @property
    def actor_urn(self) -> str:
        """See pykka.Actor.actor_urn."""
        return self._cell.urn

    @property
    def actor_stopped(self) -> threading.Event:
        """See pykka.Actor.actor_stopped."""
        return self._cell.stopped

    @property
    def clock(self) -> Clock:
        """The clock of the system, or of the loop."""
        return self._cell.clock

    @property
    def log(self) -> logging.Logger:
        """The logger of this actor, by its name in the tree."""
        return logging.getLogger(f"prodagent.actor.{self.name}")

    @property
    def actor_ref(self) -> ActorRef[Any]:
        """The actor's own address."""
        return self._actor_ref

    # pykka's hooks for new runtimes

    @staticmethod
    def _create_actor_inbox() -> Cell:
        return Cell("actor", MailboxOptions())

    @staticmethod
    def _create_future() -> Reply[Any]:
        reply: Reply[Any] = Reply()
        return reply

    def _start_actor_loop(self) -> None:
        """Run outside a tree: the actor ends at its first failure."""
        cell = self._cell
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            if self.event_loop is None:
                raise RuntimeError(
                    f"{type(self).__name__}.start() needs a running event loop, or event_loop set on the class"
                ) from None
            cell.loop = self.event_loop
            self.event_loop.call_soon_threadsafe(self._begin_alone, self.event_loop)
        else:
            self._begin_alone(loop)

    def _begin_alone(self, loop: asyncio.AbstractEventLoop) -> None:
        self._cell.live_on(loop)
        Life(self._cell, self, _end_alone).begin(loop)

    # the life of the actor

    async def on_start(self) -> None:
        """Prepare for messages; raising counts as a failure."""

    async def self_check(self) -> None:
        """Raise when this class could not do its work; asked of an instance on trial before the class replaces another.

        That instance gets no message and starts nothing; the old one works on meanwhile.
        """

    async def on_stop(self) -> None:
        """Clean up after an ordinary stop."""

    async def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Clean up after a handler raised; a fresh instance follows if a supervisor says so."""

    async def on_receive(self, message: Any) -> Any:
        """Handle a message; what it returns answers an ask."""
        self.log.warning("Unexpected message received by %s: %r", self.actor_ref, message)

    def serve_proxy(self, message: Any) -> Any:
        """Do what a pykka proxy asks for."""
        target: Any = self
        path = message.attr_path
        for attr_name in path if not isinstance(message, messages.ProxySetAttr) else path[:-1]:
            target = getattr(target, attr_name)
        if isinstance(message, messages.ProxyCall):
            return target(*message.args, **message.kwargs)
        if isinstance(message, messages.ProxySetAttr):
            setattr(target, path[-1], message.value)
            return None
        return target

    def stop(self) -> None:
        """Stop after all that was sent before."""
        self._cell.stop()

    # time and watching

    def tick(self, name: str, every: float, *, first: float | None = None) -> None:
        """Receive `Tick(name)` every so many seconds, +- 10 %; at most one waits at a time.

        Ticks belong to the runtime: they go on across restarts. Called again, the new interval counts from the next
        tick.
        """
        self._cell.ticker.set(name, every, first)

    def after(self, seconds: float, message: Any, key: Hashable | None = None) -> None:
        """Receive `message` after a while, unless this instance ends before; a timer of the same key is replaced."""
        self._life().timers.set(seconds, message, key)

    def cancel_timer(self, key: Hashable) -> bool:
        """Forget the timer of that key; False when there is none."""
        return self._life().timers.cancel(key)

    def monitor(self, ref: ActorRef[Any]) -> None:
        """Receive `Down` once that actor is gone for good, at once if it is already."""
        target = ref._cell
        if target.closed is not None:
            self._cell.deliver(Down(target.name, str(target.closed)))
        else:
            target.watchers = target.watchers or {}
            target.watchers[self.name] = self._cell

    def _life(self) -> Life:
        life = self._cell.life
        if life is None or life.actor is not self:
            raise RuntimeError(f"{self.name}: timers need a running actor: set them in on_start or later")
        return life


def _end_alone(life: Life) -> None:
    cell = life.cell
    if life.error is not None:
        logger.error("Unhandled exception in %s:", cell.ref, exc_info=life.error)
        life.return_message(life.error)
    life.fence()
    cell.close(Reason.STOPPED, State.STOPPED, "stopped" if life.error is None else repr(life.error))
    life.confirm_stop()

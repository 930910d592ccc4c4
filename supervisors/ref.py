"""The address of an actor: stays the same across its restarts, safe to pass around."""

import threading
import weakref
from threading import get_ident
from typing import Any, TypeVar

import pykka
from pykka.messages import ProxySetAttr

from supervisors.cell import Cell
from supervisors.deadlines import FRESH
from supervisors.envelope import Ask, Envelope
from supervisors.mailbox import Priority
from supervisors.reply import Reply, current_ask, on_running_loop
from supervisors.run_queue import Doze

A = TypeVar("A", bound=pykka.Actor)

NORMAL = Priority.NORMAL
_WOULD_BLOCK = "ask(block=True) would block the event loop: write 'await ref.ask(...)' instead"
_WOULD_BLOCK_SETTING = "setting an attribute through a proxy would block the event loop: call a method instead"


class ActorRef(pykka.ActorRef[A]):
    """What others hold of an actor: tell it, send to it, ask it, stop it."""

    def __init__(self, cell: Cell, actor_class: type[A]) -> None:
        self._cell = cell
        self.actor_class = actor_class
        self.actor_inbox = cell

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """See pykka.Actor.actor_urn."""
        return self._cell.urn

    @property
    def actor_stopped(self) -> threading.Event:  # type: ignore[override]
        """See pykka.Actor.actor_stopped."""
        return self._cell.stopped

    def is_alive(self) -> bool:
        """Say whether the actor accepts messages; it may be between two instances."""
        return self._cell.closed is None

    def __str__(self) -> str:
        return f"{self._cell.name} ({self.actor_urn})"

    @property
    def name(self) -> str:
        """The actor's name in its tree."""
        return self._cell.name

    def point_to(self, actor: A) -> None:
        """Let proxies see this instance."""
        self.actor_class = type(actor)
        self._actor_weakref = weakref.ref(actor)

    def tell(self, message: Any, priority: Priority = NORMAL, unique: bool = False) -> None:
        """Put a message into the mailbox; never blocks, works from any thread.

        `unique` collapses it with an equal one that waits there. Raises ActorDeadError, MailboxFull.
        """
        cell = self._cell
        inbox = cell.inbox
        if len(inbox) >= cell.mark or priority is not NORMAL or unique:
            cell.take_in(message, priority, unique)
        else:
            inbox.append(message)
            waiter = cell.waiter  # looked at after the append, as the actor looks again after setting it
            if waiter is not None:
                if get_ident() == cell.thread and not waiter.done():
                    cell.waiter = None
                    waiter.set_result(None)
                else:
                    cell.wake()

    async def send(self, message: Any, *, priority: Priority = NORMAL) -> None:
        """Put a message into the mailbox, waiting while it is full. Raises ActorDeadError."""
        cell = self._cell
        if cell.thread and cell.thread != get_ident():
            raise RuntimeError("send() waits on the loop of its actor: from another thread use tell()")
        if cell.closed is None and cell.blocks and (cell.senders or cell.mailbox.is_full(priority)):
            await cell.room(priority)
        self.tell(message, priority=priority)

    def ask(self, message: Any, block: bool = False, timeout: float | None = 10.0, priority: Priority = NORMAL) -> Any:
        """Send a message and return its reply, to be awaited.

        The deadline is `timeout` seconds away or that of the ask being handled, whichever is nearer. `block=True` waits
        for the answer and returns it; it is refused on an event loop. The reply raises what the handler raised,
        Timeout, ActorDeadError or MailboxFull, and AskCycle when awaiting it would be waiting for oneself.
        """
        if block or message.__class__ is ProxySetAttr:  # the proxy drops the reply, its exception would be lost
            _refuse_on_loop(message)
            block = True
        cell = self._cell
        deadline = None if timeout is None else cell.clock.monotonic() + timeout
        ask = Ask(message, cell, deadline)
        outer = current_ask.get()
        if outer is not None and not outer.over:
            deadline = _nest(ask, outer)
        inbox, waiter = cell.inbox, cell.waiter
        if len(inbox) >= cell.mark or priority is not NORMAL:
            cell.take_in_ask(ask, priority)
        elif waiter.__class__ is Doze and get_ident() == cell.thread and waiter.answers(ask):
            cell.end_at(ask)
        else:
            inbox.append(ask)
            deadlines = cell.deadlines
            if get_ident() != cell.thread or deadlines is None:
                cell.wake()
                cell.end_at(ask)
                return ask.get(timeout=timeout) if block else ask
            waiter = (
                cell.waiter
            )  # looked at anew; from here on what Cell.wake and Deadlines.add_ask do, without the calls
            if waiter is not None:
                cell.waiter = None
                if not waiter.done():
                    waiter.set_result(None)
            if deadline is not None:
                deadlines.fresh.append(ask)
                if deadline < deadlines.armed_at or len(deadlines.fresh) >= FRESH:
                    deadlines.sort_out()
        return ask.get(timeout=timeout) if block else ask

    def stop(self, *, block: bool = False, timeout: float | None = None) -> Any:
        """Ask the actor to stop after all it was sent before; the reply is True, or False when it was dead already.

        A supervised actor is restarted if its spec says so: to take one out use `ActorSystem.remove_child`.
        """
        if block and on_running_loop():
            raise RuntimeError("stop(block=True) would block the event loop: write 'await ref.stop()' instead")
        reply: Reply[bool] = Reply()
        cell = self._cell
        if cell.closed is not None:
            reply.set(False)
        else:
            cell.stop(reply)
        return reply.get(timeout=timeout) if block else reply

    def proxy(self) -> pykka.ActorProxy[A]:
        """Return pykka's proxy: method calls and attribute reads give replies to await."""
        return pykka.ActorProxy(actor_ref=self)


def _refuse_on_loop(message: Any) -> None:
    if on_running_loop():
        raise RuntimeError(_WOULD_BLOCK_SETTING if message.__class__ is ProxySetAttr else _WOULD_BLOCK)


def _nest(ask: Ask, outer: Envelope) -> float | None:
    """Let an ask inherit the deadline of the one being handled; note when it would wait for itself."""
    ask.asked_by = outer
    if outer.waits_for(ask.cell):
        ask.cycle = (outer, f"this ask would wait for itself: {' -> '.join((*outer.path(), ask.cell.name))}")
    if outer.deadline is not None and (ask.deadline is None or outer.deadline < ask.deadline):
        ask.deadline = outer.deadline
    return ask.deadline

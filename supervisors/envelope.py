"""What travels with a message when there is more to say than the message itself."""

import asyncio
from asyncio import get_running_loop
from typing import TYPE_CHECKING, Any

from supervisors.reply import PENDING, Reply

if TYPE_CHECKING:
    from supervisors.cell import Cell


class Envelope:
    """A message with its reply, level and number of tries."""

    # defaults of the class: most envelopes never set most of them
    reply_to: Reply[Any] | None = None
    priority = 1
    deadline: float | None = None  # on the loop's clock
    cell: "Cell | None" = None  # of the actor that is asked
    asked_by: "Envelope | None" = None  # the ask whose handler sent this one
    over = False  # its handler has ended
    unique = False
    tries = 0

    def __init__(self, message: Any, reply_to: Reply[Any] | None = None, priority: int = 1) -> None:
        self.message = message
        if reply_to is not None:
            self.reply_to = reply_to
        if priority != 1:
            self.priority = priority

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.message!r}, tries {self.tries}>"

    def waits_for(self, cell: "Cell") -> bool:
        """Say whether that actor is already waiting for this ask, or is the one that handles it."""
        ask: Envelope | None = self
        while ask is not None:
            if ask.cell is cell:
                return True
            ask = ask.asked_by
        return False

    def path(self) -> list[str]:
        """Return the names of the actors asked on the way, first one first."""
        names: list[str] = []
        ask: Envelope | None = self
        while ask is not None:
            names.append("?" if ask.cell is None else ask.cell.name)
            ask = ask.asked_by
        return names[::-1]


class Ask(Envelope, Reply[Any]):
    """A message that is its own reply: an ask costs one object."""

    __slots__ = ("asked_by", "cell", "deadline", "message", "over")
    cell: "Cell"

    def __init__(self, message: Any, cell: "Cell", deadline: float | None) -> None:
        self._value = PENDING
        self._error = self._waiter = self._wakers = self.expiry = self.cycle = self.asked_by = None
        self.message = message
        self.cell = cell
        self.deadline = deadline
        self.over = False

    @property
    def reply_to(self) -> Reply[Any]:  # type: ignore[override]
        """The reply."""
        return self

    def _loop_of(self, thread: int) -> asyncio.AbstractEventLoop:
        cell = self.cell  # asyncio's own way to the running loop makes a system call
        return cell.loop if thread == cell.thread and cell.loop is not None else get_running_loop()

    __repr__ = Reply.__repr__

"""What travels with a message when there is more to say than the message itself."""

from typing import TYPE_CHECKING, Any

from supervisors.reply import Reply

if TYPE_CHECKING:
    from supervisors.cell import Cell


class Envelope:
    """A message with its reply, deadline, number of tries and the ask it was sent for."""

    __slots__ = ("asked_by", "cell", "deadline", "message", "priority", "reply_to", "tries", "unique")

    def __init__(
        self,
        message: Any,
        reply_to: Reply[Any] | None = None,
        priority: int = 1,
        deadline: float | None = None,
        cell: "Cell | None" = None,
        asked_by: "Envelope | None" = None,
    ) -> None:
        self.message = message
        self.reply_to = reply_to
        self.priority = priority
        self.deadline = deadline  # on the loop's clock
        self.cell = cell  # of the actor that is asked
        self.asked_by = asked_by  # the ask whose handler sent this one
        self.unique = False
        self.tries = 0

    def __repr__(self) -> str:
        return f"<Envelope of {self.message!r}, tries {self.tries}>"

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

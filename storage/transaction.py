"""What a write unit sees."""

from typing import Protocol

import sqlalchemy as sa

from domain.events import Event, encode
from storage import bulk, schema


class Tx(Protocol):
    """One transaction. A unit is a plain function of it, so nothing can be awaited while it is open."""

    @property
    def connection(self) -> sa.Connection: ...

    @property
    def now(self) -> float:
        """UTC epoch seconds, the same for all units of one commit."""

    def emit(self, event: Event) -> None:
        """Write a fact together with the state that it tells of. An event without ids is no fact and is dropped."""


class Unit:
    """The transaction as one unit sees it; facts are written when the unit has ended, in order."""

    def __init__(self, connection: sa.Connection, now: float, sender: str, cause: int | None) -> None:
        self.connection = connection
        self.now = now
        self._sender = sender
        self._cause = cause
        self.facts: list[Event] = []

    def emit(self, event: Event) -> None:
        if event.ids:
            self.facts.append(event)

    def flush(self) -> set[type[Event]]:
        """Insert the facts; return their types."""
        if self.facts:
            bulk.insert(self.connection, schema.event, [self._row(fact) for fact in self.facts])
        return {type(fact) for fact in self.facts}

    def _row(self, fact: Event) -> dict[str, object]:
        return {
            "type": type(fact).__name__,
            "version": fact.version,
            "entity": fact.entity,
            "low": min(fact.ids),
            "high": max(fact.ids),
            "sender": self._sender,
            "cause": self._cause,
            "at": self.now,
            "body": encode(fact).decode(),
        }

"""A state machine as one table: event type -> (states it may leave, state it leads to)."""

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Generic, NamedTuple, TypeVar

from domain.events import Event

S = TypeVar("S", bound=StrEnum)


class IllegalMove(Exception):
    """The table has no such move."""


class Move(NamedTuple, Generic[S]):
    """What one event type does: `sources` it may leave (empty: it creates the item), `target` it leads to."""

    sources: tuple[S, ...]
    target: S


class StateTable(Generic[S]):
    """All legal moves of one kind of item; the code, the CHECK constraint and the docs page are drawn from it."""

    def __init__(self, entity: str, states: type[S], final: frozenset[S], moves: Mapping[type[Event], Move[S]]) -> None:
        self.entity = entity
        self.states = states
        self.final = final
        self.moves = dict(moves)
        for event, move in moves.items():
            if event.entity != entity:
                raise ValueError(f"{event.__name__} moves {event.entity!r}, not {entity!r}")
            if leaving := final.intersection(move.sources):
                raise ValueError(f"{event.__name__} leaves the final state {', '.join(sorted(leaving))}")

    def after(self, state: S, event: type[Event]) -> S:
        """Return the state that follows `state` on `event`; raise IllegalMove where the table has no such pair."""
        move = self.moves.get(event)
        if move is None or state not in move.sources:
            raise IllegalMove(f"{self.entity}: {event.__name__} is not allowed in state {state!r}")
        return move.target

    def move(self, event: type[Event]) -> Move[S]:
        """Return what `event` does; raise IllegalMove if it moves nothing of this kind."""
        try:
            return self.moves[event]
        except KeyError:
            raise IllegalMove(f"{self.entity}: no state hears {event.__name__}") from None

    def pairs(self) -> Iterator[tuple[S, type[Event], S]]:
        """Yield every legal (state, event, next state), in table order."""
        for event, (sources, target) in self.moves.items():
            for source in sources:
                yield source, event, target

    @property
    def live(self) -> tuple[S, ...]:
        """States that an item can still leave."""
        return tuple(state for state in self.states if state not in self.final)

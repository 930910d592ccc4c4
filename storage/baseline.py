"""What the facts that were compacted add up to: state and number of moves of every item at the horizon of the log.

One row of `folded` holds CHUNK items of one kind, a byte each for state and moves, compressed: a finished campaign of a
million jobs takes some kilobytes. Law 8 starts from here.
"""

import zlib
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from storage import schema
from storage.transaction import Tx

event, folded, horizon = schema.event, schema.folded, schema.horizon

CHUNK = 10_000
"""Items in one row: rewriting one costs about a millisecond."""


class Horizon(NamedTuple):
    """The last fact that was compacted, and when it was written (UTC epoch seconds); 0, 0.0: none was."""

    event_id: int
    at: float


class Chunk:
    """CHUNK items of one kind from the id `first` on: per item the place of its state in `words`, and its moves modulo 256."""

    __slots__ = ("entity", "first", "moves", "states", "words")

    def __init__(
        self, entity: str, first: int, words: list[str], states: bytes | bytearray = b"", moves: bytes | bytearray = b""
    ) -> None:
        self.entity = entity
        self.first = first
        self.words = words
        self.states = bytearray(states or bytes(CHUNK))
        self.moves = bytearray(moves or bytes(CHUNK))

    def reworded(self, words: list[str]) -> "Chunk":
        """Return the same in the words of today; raise ValueError if a state that is in use has no word any more."""
        if words == self.words:
            return self
        code = {word: place for place, word in enumerate(words)}
        used = {self.words[place] if place < len(self.words) else f"number {place}" for place in set(self.states)}
        if lost := sorted(used - code.keys()):
            raise ValueError(f"the baseline of {self.entity} knows states that are no more: {', '.join(lost)}")
        table = bytes(code.get(word, 0) for word in self.words).ljust(256, b"\0")
        return Chunk(self.entity, self.first, words, self.states.translate(table), self.moves)


def reached(connection: sa.Connection) -> Horizon:
    """Return how far the log has been compacted."""
    row = connection.execute(sa.select(horizon.c.event_id, horizon.c.at)).one_or_none()
    return Horizon(0, 0.0) if row is None else Horizon(row.event_id, row.at)


def load(connection: sa.Connection, entity: str, words: list[str], firsts: list[int] | None = None) -> list[Chunk]:
    """Return the chunks of one kind of item in the words of today, by id; `firsts`: only these."""
    query = sa.select(folded).where(folded.c.entity == entity).order_by(folded.c.first)
    if firsts is not None:
        query = query.where(folded.c.first.in_(firsts))
    found = []
    for row in connection.execute(
        query
    ).all():  # all before the first is unpacked: a damaged one leaves no answer half read
        old = msgspec.json.decode(row.words, type=list[str])
        found.append(
            Chunk(entity, row.first, old, zlib.decompress(row.states), zlib.decompress(row.moves)).reworded(words)
        )
    return found


def save(tx: Tx, chunks: list[Chunk], to: Horizon) -> None:
    """Put the chunks and the new horizon on record, in the transaction that deletes their facts."""
    for chunk in chunks:
        tx.connection.execute(folded.delete().where(folded.c.entity == chunk.entity, folded.c.first == chunk.first))
    rows = [
        {
            "entity": chunk.entity,
            "first": chunk.first,
            "words": msgspec.json.encode(chunk.words).decode(),
            "states": zlib.compress(bytes(chunk.states), 1),
            "moves": zlib.compress(bytes(chunk.moves), 1),
        }
        for chunk in chunks
    ]
    if rows:
        tx.connection.execute(folded.insert(), rows)
    tx.connection.execute(horizon.delete())
    tx.connection.execute(horizon.insert().values(id=1, event_id=to.event_id, at=to.at))


class Bygone(NamedTuple):
    """What is left of the history of one item before the horizon: its state there, and how many moves led to it (modulo 256)."""

    state: str
    moves: int
    until: float


def of_item(connection: sa.Connection, entity: str, words: list[str], item: int) -> Bygone | None:
    """Return what was compacted of one item's history; None: nothing."""
    for chunk in load(connection, entity, words, [item - item % CHUNK]):
        if state := chunk.states[item % CHUNK]:
            return Bygone(words[state], chunk.moves[item % CHUNK], reached(connection).at)
    return None

"""Dead letters of mailboxes: messages that no actor handled, kept until a person replays or drops them (PA-012).

Facts that a subscriber could not handle are parked in the log (storage/log.py); this is the same for commands and other
messages that live in memory.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from storage import schema
from storage.engine import among
from storage.transaction import Tx

dead_letter = schema.dead_letter

MAX_TRACEBACK = 16_000
"""Characters of a traceback that are kept: the last ones say where it broke."""


class Letter(NamedTuple):
    """A message that was not handled; `body` is its JSON, "" when it cannot be sent again. Times in UTC epoch seconds."""

    id: int
    actor: str
    type: str
    body: str
    text: str
    reason: str
    error: str
    traceback: str
    tries: int
    times: int
    first_at: float
    last_at: float


class Unhandled(NamedTuple):
    """What is known of a message when it dies; `reason` is a word of supervisors.Reason."""

    actor: str
    type: str
    body: str
    text: str
    reason: str
    error: str
    traceback: str
    tries: int


def keep(tx: Tx, letter: Unhandled) -> None:
    """Write a dead letter; the same message to the same actor with the same end is counted, not written again."""
    key = {name: getattr(letter, name) for name in ("actor", "type", "reason", "text", "body")}
    last = {"error": letter.error, "traceback": letter.traceback[-MAX_TRACEBACK:], "tries": letter.tries}
    same = [dead_letter.c[name] == value for name, value in key.items()]
    counted = (
        dead_letter.update().where(*same).values(**last, last_at=tx.now, count=dead_letter.c.count + 1, closed_at=None)
    )
    if tx.connection.execute(counted).rowcount == 0:
        tx.connection.execute(dead_letter.insert().values(**key, **last, first_at=tx.now, last_at=tx.now))


def keep_all(tx: Tx, letters: Sequence[Unhandled]) -> None:
    """Write several dead letters."""
    for letter in letters:
        keep(tx, letter)


def waiting(connection: sa.Connection) -> list[Letter]:
    """Return what waits for a person, oldest first."""
    columns = (dead_letter.c["count" if name == "times" else name] for name in Letter._fields)
    query = sa.select(*columns).where(dead_letter.c.closed_at.is_(None)).order_by(dead_letter.c.id)
    return [Letter(*row) for row in connection.execute(query)]


def close(tx: Tx, ids: Iterable[int]) -> list[int]:
    """Take letters off the list, as they are replayed or dropped; return those that were on it."""
    mine = (among(dead_letter.c.id, list(ids)), dead_letter.c.closed_at.is_(None))
    found = list(tx.connection.execute(sa.select(dead_letter.c.id).where(*mine).order_by(dead_letter.c.id)).scalars())
    tx.connection.execute(dead_letter.update().where(*mine).values(closed_at=tx.now))
    return found


def reopen(tx: Tx, identity: int) -> None:
    """Put a letter on the list again: its actor took no message."""
    tx.connection.execute(dead_letter.update().where(dead_letter.c.id == identity).values(closed_at=None))

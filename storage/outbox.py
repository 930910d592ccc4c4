"""Calls to managers: each is on record, with its own id, before it is made (PA-009, PM-09)."""

from typing import NamedTuple

import sqlalchemy as sa

from storage import schema
from storage.engine import among
from storage.transaction import Tx

outbox = schema.outbox


class Call(NamedTuple):
    """A call that has no answer yet; `body` is JSON."""

    id: int
    manager: str
    kind: str
    call_id: str
    subject: int | None
    body: str
    tries: int


def put(tx: Tx, manager: str, kind: str, call_id: str, body: str, subject: int | None = None) -> None:
    """Put a call on record; the same call id again changes nothing."""
    known = tx.connection.execute(sa.select(outbox.c.id).where(outbox.c.call_id == call_id)).scalar_one_or_none()
    if known is None:
        tx.connection.execute(
            outbox.insert().values(
                manager=manager, kind=kind, call_id=call_id, subject=subject, body=body, next_at=tx.now
            )
        )


def unanswered(connection: sa.Connection, manager: str, now: float | None = None) -> list[Call]:
    """Return the calls without an answer, oldest first; `now`: only those that are due."""
    query = sa.select(*(outbox.c[name] for name in Call._fields)).where(
        outbox.c.answered.is_(None), outbox.c.manager == manager
    )
    if now is not None:
        query = query.where(outbox.c.next_at <= now)
    return [Call(*row) for row in connection.execute(query.order_by(outbox.c.id))]


def answered(tx: Tx, call: Call, answer: str) -> bool:
    """Book the answer, in the transaction of its effects; False if it was booked before."""
    change = outbox.update().where(outbox.c.id == call.id, outbox.c.answered.is_(None))
    return tx.connection.execute(change.values(answered=1, answer=answer)).rowcount == 1


def forget(tx: Tx, call: Call) -> None:
    """Nothing came of the call; it leaves no trace."""
    tx.connection.execute(outbox.delete().where(outbox.c.id == call.id))


def prune(tx: Tx, before: float, most: int = 1000) -> int:
    """Forget calls that were answered and last made before `before` (UTC epoch seconds); return how many."""
    old = sa.select(outbox.c.id).where(outbox.c.answered == 1, outbox.c.next_at < before).limit(most)
    ids = list(tx.connection.execute(old).scalars())
    return tx.connection.execute(outbox.delete().where(among(outbox.c.id, ids))).rowcount if ids else 0


def postponed(tx: Tx, call: Call, until: float) -> None:
    """It will be made again, with the same id."""
    change = outbox.update().where(outbox.c.id == call.id)
    tx.connection.execute(change.values(tries=outbox.c.tries + 1, next_at=until))

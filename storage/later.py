"""Facts to be published later: kept as rows, so that a delay survives a restart (PA-010)."""

from typing import Any

import msgspec
import sqlalchemy as sa

from domain.events import Published
from storage import schema
from storage.engine import Connection
from storage.transaction import Tx

later = schema.later


def publish(tx: Tx, topic: str, body: dict[str, Any], *, delay_s: float = 0.0, unique_key: str = "") -> int:
    """Have `Published(topic, body)` written once `delay_s` seconds have passed; return the number under which it waits.

    While one with the same `unique_key` waits nothing is added, and the number of that one is returned. The moment is
    absolute: a restart neither shortens nor prolongs the wait. Raises ValueError for a negative delay.
    """
    if delay_s < 0:
        raise ValueError(f"delay_s: got {delay_s:g}, expected 0 or more seconds")
    if unique_key:
        same = sa.select(later.c.id).where(later.c.unique_key == unique_key)
        waiting = tx.connection.execute(same).scalar_one_or_none()
        if waiting is not None:
            return int(waiting)
    added = tx.connection.execute(
        later.insert().values(
            topic=topic,
            body=msgspec.json.encode(body).decode(),
            not_before=tx.now + delay_s,
            unique_key=unique_key or None,
        )
    )
    assert added.inserted_primary_key is not None
    return int(added.inserted_primary_key[0])


def deliver(tx: Tx, limit: int = 1000) -> int:
    """Write the facts whose moment has come, oldest first, each with the end of its wait; return how many."""
    due = sa.select(later).where(later.c.not_before <= tx.now).order_by(later.c.not_before, later.c.id).limit(limit)
    rows = tx.connection.execute(due).all()
    for row in rows:
        tx.emit(Published(ids=[1], topic=row.topic, body=msgspec.json.decode(row.body, type=dict[str, Any])))
        tx.connection.execute(later.delete().where(later.c.id == row.id))
    return len(rows)


def next_at(connection: Connection) -> float | None:
    """Return when the next one is due (UTC epoch seconds)."""
    soonest: float | None = connection.execute(sa.select(sa.func.min(later.c.not_before))).scalar_one()
    return soonest

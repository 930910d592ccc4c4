"""The event log: history, outbox and feed at once."""

from collections.abc import Iterable
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.events import BESIDE, Event, decode
from storage import schema
from storage.baseline import reached
from storage.engine import among
from storage.transaction import Tx

event, cursor, parked = schema.event, schema.cursor, schema.parked
_LOGGED = (event.c.id, event.c.at, event.c.type, event.c.body)
_NEWEST = sa.select(sa.func.max(event.c.id))


class Logged(NamedTuple):
    """A fact with its place in the log and its time (UTC epoch seconds)."""

    id: int
    at: float
    fact: Event


class Parked(NamedTuple):
    """A fact whose handler failed for one subscriber; `next_at` None = dead letter, waits for a person."""

    id: int
    subscriber: str
    event_id: int
    type: str
    tries: int
    next_at: float | None
    error: str
    at: float


def after(connection: sa.Connection, position: int, types: Iterable[type[Event]], limit: int) -> list[Logged]:
    """Return the next facts of these types behind `position`, in commit order."""
    query = _behind(tuple(kind.__name__ for kind in types))
    return [_logged(row) for row in connection.execute(query, {"position": position, "most": limit})]


@cache
def _behind(types: tuple[str, ...]) -> sa.Select[Any]:
    query = sa.select(*_LOGGED).where(event.c.id > sa.bindparam("position"), event.c.type.in_(types))
    return query.order_by(event.c.id).limit(sa.bindparam("most"))


def _logged(row: Any) -> Logged:
    try:
        return Logged(row.id, row.at, decode(row.type, row.body))
    except (LookupError, ValueError) as error:
        return Logged(row.id, row.at, Event(ids=[], reason=f"{row.type} cannot be read: {error}"))


def unreadable(logged: Logged) -> bool:
    """Whether the row holds no fact that this program knows; its `reason` says why."""
    return type(logged.fact) is Event


def position(connection: sa.Connection, subscriber: str) -> int | None:
    """Return where the subscriber stands, None if it has never read."""
    return connection.execute(
        sa.select(cursor.c.position).where(cursor.c.subscriber == subscriber)
    ).scalar_one_or_none()


def last(connection: sa.Connection) -> int:
    """Return the id of the newest fact, also if it was compacted since; 0 if there never was one."""
    newest = connection.execute(_NEWEST).scalar_one()
    return reached(connection).event_id if newest is None else int(newest)


def go_on_after(tx: Tx, identity: int) -> None:
    """Give no fact an id up to this one any more: whoever has heard of one must never see its id again."""
    newest = tx.connection.execute(_NEWEST).scalar_one()
    if newest is None or identity > newest:
        row = {"type": "", "version": 0, "entity": "", "low": 0, "high": 0, "sender": "", "at": 0.0, "body": ""}
        tx.connection.execute(event.insert().values(id=identity, **row))
        tx.connection.execute(event.delete().where(event.c.id == identity))


def begin(tx: Tx, subscriber: str, *, from_now: bool = False) -> int:
    """Return where a subscriber stands; a new one gets its cursor at the log's beginning, or at its present end.

    The start is counted until the cursor moves: see `starts`.
    """
    present = position(tx.connection, subscriber)
    if present is not None:
        mine = cursor.c.subscriber == subscriber
        tx.connection.execute(cursor.update().where(mine).values(starts=cursor.c.starts + 1))
        return present
    start = last(tx.connection) if from_now else 0
    tx.connection.execute(cursor.insert().values(subscriber=subscriber, position=start))
    return start


def starts(connection: sa.Connection, subscriber: str) -> int:
    """Return how often a subscriber has started since its cursor last moved; high = the next fact may be what ends it."""
    query = sa.select(cursor.c.starts).where(cursor.c.subscriber == subscriber)
    return int(connection.execute(query).scalar_one_or_none() or 0)


_ADVANCE = (
    cursor.update()
    .where(cursor.c.subscriber == sa.bindparam("name"), cursor.c.position < sa.bindparam("to"))
    .values(position=sa.bindparam("to"), starts=0)
)


def advance(tx: Tx, subscriber: str, to: int) -> None:
    """Move the cursor forward, in the transaction of the effects."""
    tx.connection.execute(_ADVANCE, {"name": subscriber, "to": to})


def park(tx: Tx, subscriber: str, event_id: int, error: str, redelivery_s: list[float]) -> None:
    """Put a fact aside for this subscriber: due again after the next pause, a dead letter after the last one or without any."""
    tries = tx.connection.execute(
        sa.select(parked.c.tries).where(parked.c.subscriber == subscriber, parked.c.event_id == event_id)
    ).scalar_one_or_none()
    count = (tries or 0) + 1
    next_at = _next_try(tx.now, count, redelivery_s)
    values = {"tries": count, "next_at": next_at, "error": error, "at": tx.now}
    if tries is None:
        tx.connection.execute(parked.insert().values(subscriber=subscriber, event_id=event_id, **values))
    else:
        where = (parked.c.subscriber == subscriber, parked.c.event_id == event_id)
        tx.connection.execute(parked.update().where(*where).values(**values))


def _next_try(now: float, tries: int, redelivery_s: list[float]) -> float | None:
    return now + redelivery_s[tries - 1] if tries <= len(redelivery_s) else None


def trying(tx: Tx, subscriber: str, event_id: int, redelivery_s: list[float]) -> None:
    """Count a try of a parked fact before it is made, so that one which ends the process is counted too."""
    where = (parked.c.subscriber == subscriber, parked.c.event_id == event_id)
    tries = tx.connection.execute(sa.select(parked.c.tries).where(*where)).scalar_one() + 1
    next_at = _next_try(tx.now, tries, redelivery_s)
    tx.connection.execute(parked.update().where(*where).values(tries=tries, next_at=next_at, at=tx.now))


def failed_again(tx: Tx, subscriber: str, event_id: int, error: str) -> None:
    """Keep what the last try of a parked fact said."""
    where = (parked.c.subscriber == subscriber, parked.c.event_id == event_id)
    tx.connection.execute(parked.update().where(*where).values(error=error))


def unpark(tx: Tx, subscriber: str, event_id: int) -> None:
    """Its handler succeeded."""
    tx.connection.execute(parked.delete().where(parked.c.subscriber == subscriber, parked.c.event_id == event_id))


_DUE = (
    sa.select(*_LOGGED)
    .join(parked, parked.c.event_id == event.c.id)
    .where(parked.c.subscriber == sa.bindparam("name"), parked.c.next_at <= sa.bindparam("now"))
    .order_by(event.c.id)
    .limit(sa.bindparam("most"))
)


def due(connection: sa.Connection, subscriber: str, now: float, limit: int) -> list[Logged]:
    """Return parked facts whose pause is over."""
    return [_logged(row) for row in connection.execute(_DUE, {"name": subscriber, "now": now, "most": limit})]


def parked_facts(connection: sa.Connection, *, dead_only: bool = False) -> list[Parked]:
    """Return what is parked, oldest first."""
    query = sa.select(
        parked.c.id,
        parked.c.subscriber,
        parked.c.event_id,
        event.c.type,
        parked.c.tries,
        parked.c.next_at,
        parked.c.error,
        parked.c.at,
    ).join(event, event.c.id == parked.c.event_id)
    if dead_only:
        query = query.where(parked.c.next_at.is_(None))
    return [Parked(*row) for row in connection.execute(query.order_by(parked.c.id))]


def replay(tx: Tx, parked_ids: list[int]) -> int:
    """Make parked facts due now; return how many."""
    return tx.connection.execute(
        parked.update().where(among(parked.c.id, parked_ids)).values(next_at=tx.now, tries=0)
    ).rowcount


def drop(tx: Tx, parked_ids: list[int]) -> list[int]:
    """Forget parked facts for their subscribers, on a person's word; return those that were there. The facts stay in the log."""
    mine = among(parked.c.id, parked_ids)
    found = list(tx.connection.execute(sa.select(parked.c.id).where(mine).order_by(parked.c.id)).scalars())
    tx.connection.execute(parked.delete().where(mine))
    return found


def history(connection: sa.Connection, entity: str, item: int) -> list[Logged]:
    """Return every fact that moved one item, oldest first."""
    told = event.c.entity.in_([entity, BESIDE.get(entity, entity)])
    query = sa.select(*_LOGGED).where(told, event.c.low <= item, event.c.high >= item)
    facts = (_logged(row) for row in connection.execute(query.order_by(event.c.id)))
    return [logged for logged in facts if item in logged.fact.ids]

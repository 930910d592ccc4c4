"""The event log as people look at it: list, count, history, who reads it; and facts that they publish or remove themselves."""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from domain.events import BESIDE, Published, SettingsChanged, all_events
from storage import schema
from storage.baseline import of_item
from storage.engine import among
from storage.laws.folding import MACHINES
from storage.log import go_on_after, last
from storage.transaction import Tx
from storage.views import Unknown, unknown
from storage.views.records import View

event, cursor, parked, daily = schema.event, schema.cursor, schema.parked, schema.daily


class MessageView(View, frozen=True, kw_only=True):
    """A fact of the log: who wrote it because of which other fact, how many items it moved, and what it says besides."""

    id: int
    at: float
    type: str
    entity: str
    sender: str
    cause: int | None
    items: int
    low: int
    high: int
    reason: str
    more: dict[str, Any]


class Past(View, frozen=True, kw_only=True):
    """What compaction left of an item's history: its state at `until`, and the number of moves to it (modulo 256)."""

    state: str
    moves: int
    until: float


class HistoryView(View, frozen=True, kw_only=True):
    """All that moved one item, oldest first; `before`: what was compacted."""

    entity: str
    item: int
    before: Past | None
    facts: list[MessageView]


class TypeCount(View, frozen=True, kw_only=True):
    """Facts of one type: those in the log, and those that were compacted."""

    type: str
    kept: int
    compacted: int


class SubscriberView(View, frozen=True, kw_only=True):
    """A durable subscriber: the last fact it has read, how many are behind that, and what it could not handle."""

    name: str
    position: int
    behind: int
    parked: int
    dead: int


def listed(
    connection: sa.Connection,
    *,
    types: Sequence[str] = (),
    sender: str | None = None,
    before: int | None = None,
    limit: int,
) -> list[MessageView]:
    """Return facts, newest first; `before`: older than the one of this id. Raises Unknown for a type that does not exist."""
    query = sa.select(event)
    if types:
        query = query.where(event.c.type.in_(_known(types)))
    if sender is not None:
        query = query.where(event.c.sender == sender)
    if before is not None:
        query = query.where(event.c.id < before)
    return [_view(row) for row in connection.execute(query.order_by(event.c.id.desc()).limit(limit))]


def _known(types: Sequence[str]) -> Sequence[str]:
    every = sorted(all_events())
    for name in types:
        if name not in every:
            raise unknown("type of fact", name, every)
    return types


def _view(row: Any) -> MessageView:
    try:
        body = msgspec.json.decode(row.body, type=dict[str, Any])
    except msgspec.MsgspecError:
        body = {"reason": "its body cannot be read"}
    ids = body.pop("ids", [])
    reason = str(body.pop("reason", ""))
    body.pop("type", None)
    fields = {name: getattr(row, name) for name in ("id", "at", "type", "entity", "sender", "cause", "low", "high")}
    return MessageView(**fields, items=len(ids), reason=reason, more=body)


def counts(connection: sa.Connection) -> list[TypeCount]:
    """Return how many facts of each type there are and were."""
    kept = dict(_pairs(connection, sa.select(event.c.type, sa.func.count()).group_by(event.c.type)))
    gone = dict(_pairs(connection, sa.select(daily.c.type, sa.func.sum(daily.c.facts)).group_by(daily.c.type)))
    return [
        TypeCount(type=name, kept=kept.get(name, 0), compacted=gone.get(name, 0)) for name in sorted({*kept, *gone})
    ]


def _pairs(connection: sa.Connection, query: sa.Select[Any]) -> list[tuple[str, int]]:
    return [(str(name), int(number)) for name, number in connection.execute(query)]


def history(connection: sa.Connection, entity: str, item: int) -> HistoryView:
    """Return all that moved one item. Raises Unknown for a kind of item that does not exist, or an item that never did."""
    states = {machine.entity: [str(word) for word in machine.states] for machine, _ in MACHINES}
    kinds = {*states, SettingsChanged.entity}
    if entity not in kinds:
        raise unknown("kind of item", entity, sorted(kinds))
    told = event.c.entity.in_([entity, BESIDE.get(entity, entity)])
    query = sa.select(event).where(told, event.c.low <= item, event.c.high >= item)
    facts = [
        _view(row)
        for row in connection.execute(query.order_by(event.c.id))
        if item in msgspec.json.decode(row.body, type=dict[str, Any]).get("ids", [])
    ]
    past = of_item(connection, entity, ["absent", *states.get(entity, [])], item)
    if not facts and past is None:
        raise Unknown(f"there is no {entity} {item}")
    before = None if past is None else Past(state=past.state, moves=past.moves, until=past.until)
    return HistoryView(entity=entity, item=item, before=before, facts=facts)


def subscribers(connection: sa.Connection) -> list[SubscriberView]:
    """Return who reads the log with a cursor, the furthest behind first."""
    end = last(connection)
    kinds = sa.select(
        parked.c.subscriber, sa.func.count(), sa.func.sum(sa.case((parked.c.next_at.is_(None), 1), else_=0))
    ).group_by(parked.c.subscriber)
    aside = {name: (int(every), int(dead)) for name, every, dead in connection.execute(kinds)}
    rows = connection.execute(sa.select(cursor.c.subscriber, cursor.c.position).order_by(cursor.c.position))
    return [
        SubscriberView(
            name=name,
            position=position,
            behind=max(0, end - position),
            parked=aside.get(name, (0, 0))[0],
            dead=aside.get(name, (0, 0))[1],
        )
        for name, position in rows
    ]


def publish(tx: Tx, topic: str, body: dict[str, Any]) -> int:
    """Write a fact that moves nothing, for whoever follows `Published`; return the last id before it."""
    before = last(tx.connection)
    tx.emit(Published(ids=[1], topic=topic, body=body))
    return before


def remove(tx: Tx, ids: Sequence[int]) -> list[int]:
    """Remove published facts; return them.

    Raises Unknown for one that is not there, and PermissionError for one that moved an item: the state of that item
    is proved from it, and it goes only by compaction.
    """
    rows = {
        row.id: row.type
        for row in tx.connection.execute(sa.select(event.c.id, event.c.type).where(among(event.c.id, list(ids))))
    }
    for identity in ids:
        if identity not in rows:
            raise Unknown(f"there is no fact {identity}")
        if rows[identity] != Published.__name__:
            raise PermissionError(
                f"fact {identity} ({rows[identity]}) moved items, whose state is proved from it: "
                "only published facts can be removed"
            )
    end = last(tx.connection)
    tx.connection.execute(parked.delete().where(among(parked.c.event_id, list(ids))))
    tx.connection.execute(event.delete().where(among(event.c.id, list(ids))))
    go_on_after(tx, end)
    return sorted(rows)


def forget(tx: Tx, subscriber: str) -> int:
    """Drop the cursor of a subscriber that is no more, with what it could not handle, so that it holds back nothing.

    Returns how many facts it had not read. Raises Unknown.
    """
    known = {row.name: row.behind for row in subscribers(tx.connection)}
    if subscriber not in known:
        raise unknown("subscriber", subscriber, sorted(known))
    tx.connection.execute(parked.delete().where(parked.c.subscriber == subscriber))
    tx.connection.execute(cursor.delete().where(cursor.c.subscriber == subscriber))
    return known[subscriber]

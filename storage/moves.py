"""Set-based, guarded moves: the state table decides what may move, and the fact that is written says what did."""

from functools import cache
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from domain.events import Event
from domain.transition import StateTable
from storage import counters
from storage.engine import among
from storage.transaction import Tx

CHUNK = 5000
"""Most ids in one statement and one fact."""


class StaleState(Exception):
    """Some of the items are no longer in a state from which the move is legal."""


def move(tx: Tx, table: sa.Table, machine: StateTable[Any], event: Event, **values: Any) -> list[int]:
    """Move the items of `event` whose present state allows it; return their ids and write the fact about just them.

    Compare-and-set: an item in another state stays as it is. `values` are further columns to set on all of them.
    """
    rule = machine.move(type(event))
    moved: list[int] = []
    for start in range(0, len(event.ids), CHUNK):
        chunk = event.ids[start : start + CHUNK]
        places = tx.connection.execute(_legal(table, rule.sources), {"ids": chunk}).all()
        if found := sorted(identity for place in places for identity in map(int, place[0].split(","))):
            set_to = {"state": rule.target, "since": tx.now, "reason": event.reason[:500], **values}
            change = _change(table, tuple(set_to))
            tx.connection.execute(change, {"ids": found, **{f"new_{name}": value for name, value in set_to.items()}})
            counters.moved(tx, table, [place[1:] for place in places], rule.target, values.get("target"))
            tx.emit(replace(event, ids=found))
            moved += found
    return moved


@cache
def _legal(table: sa.Table, sources: tuple[str, ...]) -> sa.Select[Any]:
    """Return the query for (ids, *place, number, events, bytes) of what may move, one row for each place.

    Made once per table and move: building a statement costs more than running it. A driver written in Python would read
    each item as a row of its own, byte by byte.
    """
    place, sums = counters.columns(table)
    query = sa.select(sa.func.group_concat(table.c.id), *place, *sums).select_from(counters.source(table))
    return query.where(among(table.c.id), table.c.state.in_(sources)).group_by(*place)


@cache
def _change(table: sa.Table, names: tuple[str, ...]) -> sa.Update:
    values = {name: sa.bindparam(f"new_{name}", type_=table.c[name].type) for name in names}
    return table.update().where(among(table.c.id)).values(version=table.c.version + 1, **values)


def move_all(tx: Tx, table: sa.Table, machine: StateTable[Any], event: Event, **values: Any) -> None:
    """As `move`, but all or nothing: raise StaleState, naming those left behind, if one cannot move."""
    moved = move(tx, table, machine, event, **values)
    if len(moved) != len(set(event.ids)):
        left = sorted(set(event.ids) - set(moved))
        raise StaleState(f"{type(event).__name__}: {machine.entity} {left[:10]} no longer in a state that allows it")

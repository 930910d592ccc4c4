"""Set-based, guarded moves: the state table decides what may move, and the fact that is written says what did."""

from typing import Any, TypeVar

import sqlalchemy as sa
from msgspec.structs import replace

from domain.events import Event
from domain.transition import StateTable
from storage.engine import among
from storage.transaction import Tx

E = TypeVar("E", bound=Event)

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
        legal = (among(table.c.id, chunk), table.c.state.in_(rule.sources))
        found = list(tx.connection.execute(sa.select(table.c.id).where(*legal).order_by(table.c.id)).scalars())
        if found:
            change = table.update().where(among(table.c.id, found))
            tx.connection.execute(
                change.values(state=rule.target, version=table.c.version + 1, since=tx.now, reason=event.reason[:500], **values)
            )
            tx.emit(replace(event, ids=found))
            moved += found
    return moved


def move_all(tx: Tx, table: sa.Table, machine: StateTable[Any], event: Event, **values: Any) -> None:
    """As `move`, but all or nothing: raise StaleState, naming those left behind, if one cannot move."""
    moved = move(tx, table, machine, event, **values)
    if len(moved) != len(set(event.ids)):
        left = sorted(set(event.ids) - set(moved))
        raise StaleState(f"{type(event).__name__}: {machine.entity} {left[:10]} no longer in a state that allows it")

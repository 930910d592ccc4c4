"""Commit units of writing in groups: one sync to disk for many, and a unit that fails undone alone."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.events import Event
from storage import lease
from storage.errors import StoreAway, StoreLost
from storage.transaction import Tx, Unit


class Pending:
    """A unit that waits for its commit."""

    __slots__ = ("cause", "outcome", "sender", "unit")

    def __init__(self, unit: Callable[[Tx], Any], sender: str, cause: int | None) -> None:
        self.unit = unit
        self.sender = sender
        self.cause = cause
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()


class Settled(NamedTuple):
    """What became of a group: per unit its result or its error, and the kinds of facts that are on disk now."""

    outcomes: list[Any | Exception]
    facts: frozenset[type[Event]]
    commits: int


def commit(connection: sa.Connection, group: Sequence[Pending], now: float, fence: int) -> Settled:
    """Commit the group; if one of its units fails, each alone. `fence` 0: the store has none."""
    try:
        results, facts = _run(connection, group, now, fence)
        connection.commit()
    except Exception as error:
        connection.rollback()
        if len(group) == 1 or isinstance(error, StoreLost):
            return Settled([_explained(error)] * len(group), frozenset(), 0)
        alone = [commit(connection, [pending], now, fence) for pending in group]
        return Settled(
            [settled.outcomes[0] for settled in alone],
            frozenset().union(*(settled.facts for settled in alone)),
            sum(settled.commits for settled in alone),
        )
    return Settled(results, facts, 1)


def _run(
    connection: sa.Connection, group: Sequence[Pending], now: float, fence: int
) -> tuple[list[Any], frozenset[type[Event]]]:
    if fence:
        lease.check(connection, fence)
    results: list[Any] = []
    facts: set[type[Event]] = set()
    for pending in group:
        unit = Unit(connection, now, pending.sender, pending.cause)
        results.append(pending.unit(unit))
        facts |= unit.flush()
    return results, frozenset(facts)


def _explained(error: Exception) -> Exception:
    """Turn "come back later" answers of the database into StoreAway."""
    if isinstance(error, sa.exc.OperationalError):
        away = StoreAway(f"the database does not take writes now: {error.orig}")
        away.__cause__ = error
        return away
    return error

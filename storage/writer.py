"""Commit units of writing in groups: one sync to disk for many, a unit that fails undone alone, a lost answer looked up."""

import asyncio
import contextlib
import inspect
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.events import Event
from storage.errors import StoreAway, StoreLost, StoreUnsure
from storage.lease import Hold
from storage.transaction import Unit

AGAIN = 5
"""How often a transaction that failed in passing is run again."""
PAUSE_S = 0.1
"""First pause before that, in seconds; doubled each time, with jitter: about 3 s for all, as long as MariaDB takes to restart."""
DOUBT_S = 60.0
"""How long the answer to a commit whose connection was lost is asked for."""


ALONE = object()
"""As part: the unit is whole."""


class Trouble(Enum):
    """What an error means for the transaction that it ended."""

    OWN = "the unit's own: running it again fails again"
    PASSING = "busy, deadlock, connection lost: the same transaction may succeed now"
    AWAY = "no room, no rights to write: it may succeed much later"


class Pending:
    """A unit that waits for its commit, or a part of a joint one."""

    __slots__ = ("cause", "outcome", "part", "patient", "sender", "unit")

    def __init__(
        self, unit: Callable[..., Any], sender: str, cause: int | None, part: Any = ALONE, *, patient: bool = False
    ) -> None:
        self.unit = unit
        self.sender = sender
        self.cause = cause
        self.part = part
        self.patient = patient
        self.outcome: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    @property
    def joint(self) -> bool:
        return self.part is not ALONE


class Settled(NamedTuple):
    """What became of a group: per unit its result or its error, and the kinds of facts that are on disk now."""

    outcomes: list[Any | Exception]
    facts: frozenset[type[Event]]
    commits: int


class Writer:
    """Runs units on one connection at a time, in whatever thread it is called.

    `connect` returns a connection that may write, `judge` says what an error means, `pause` waits for some seconds,
    `guard` ends a connection that hangs.
    """

    def __init__(
        self,
        connect: Callable[[], sa.Connection],
        judge: Callable[[BaseException], Trouble],
        hold: Hold,
        *,
        pause: Callable[[float], None] = time.sleep,
        guard: Callable[[sa.Connection], AbstractContextManager[None]] = lambda _: contextlib.nullcontext(),
    ) -> None:
        self._connect = connect
        self._judge = judge
        self._hold = hold
        self._pause = pause
        self._guard = guard
        self._connection: sa.Connection | None = None

    def first(self) -> sa.Connection:
        """Connect to a store that is not held yet."""
        self._connection = self._connect()
        return self._connection

    def take(self, now: float) -> None:
        """Become the holder, on the connection of `first`."""
        assert self._connection
        self._hold.take(self._connection, now)
        self._connection.commit()

    def commit(self, group: Sequence[Pending], now: float) -> Settled:
        """Commit the group; if one of its units fails, each alone."""
        try:
            return self._lasting(group, now)
        except Exception as error:
            if len(group) == 1 or isinstance(error, StoreLost | StoreAway):
                return Settled([error] * len(group), frozenset(), 0)
        alone = [self.commit([pending], now) for pending in group]
        return Settled(
            [settled.outcomes[0] for settled in alone],
            frozenset().union(*(settled.facts for settled in alone)),
            sum(settled.commits for settled in alone),
        )

    def close(self) -> None:
        """Let go of the connection. Safe to repeat."""
        if self._connection is not None:
            with contextlib.suppress(sa.exc.DBAPIError):
                self._connection.close()
            self._connection = None

    def _lasting(self, group: Sequence[Pending], now: float) -> Settled:
        """One transaction, run again whole while the database fails in passing."""
        for tries in range(AGAIN + 1):
            try:
                return self._once(group, now)
            except Exception as error:
                trouble = self._judge(error)
                if trouble is Trouble.OWN or isinstance(error, StoreUnsure):
                    raise
                if trouble is Trouble.AWAY or tries == AGAIN:
                    raise StoreAway(f"the database does not take writes now: {_cause(error)}") from error
            self._wait(tries)
        raise AssertionError

    def _once(self, group: Sequence[Pending], now: float) -> Settled:
        connection = self.ready()
        with self._guard(connection):
            try:
                self._hold.mark(connection)
                results, facts = _run(connection, group, now)
            except BaseException:
                self._undo(connection)
                raise
            try:
                connection.commit()
            except Exception as error:
                self.close()
                if self._judge(error) is Trouble.OWN or not self._holds(error):
                    raise
            else:
                self._hold.number += 1
        return Settled(results, facts, 1)

    def ready(self) -> sa.Connection:
        if self._connection is None:
            connection = self._connect()
            with self._guard(connection):
                try:
                    self._hold.refresh(connection)
                    connection.rollback()
                except BaseException:
                    self._undo(connection)
                    connection.close()
                    raise
            self._connection = connection
        return self._connection

    def _holds(self, error: Exception) -> bool:
        """Return whether the commit whose answer was lost is in the database."""
        before, began, tries = self._hold.number, time.monotonic(), 0
        while True:
            try:
                self.ready()
            except Exception as failure:
                self.close()
                if self._judge(failure) is Trouble.OWN:
                    raise
                if time.monotonic() - began > DOUBT_S:
                    text = f"the database went away during a commit and has not come back: {_cause(failure)}"
                    raise StoreUnsure(text) from error
                self._wait(tries)
                tries = min(tries + 1, AGAIN)
            else:
                return self._hold.number > before

    def _undo(self, connection: sa.Connection) -> None:
        try:
            connection.rollback()
        except sa.exc.DBAPIError:
            self.close()
        else:
            if connection.invalidated:
                self.close()

    def _wait(self, tries: int) -> None:
        self._pause(PAUSE_S * 2**tries * random.uniform(0.5, 1.0))  # noqa: S311


def _run(connection: sa.Connection, group: Sequence[Pending], now: float) -> tuple[list[Any], frozenset[type[Event]]]:
    results: dict[Pending, Any] = {}
    facts: set[type[Event]] = set()
    for members in _together(group):
        first = members[0]
        unit = Unit(connection, now, _sender(members), first.cause)
        found = first.unit(unit, [each.part for each in members]) if first.joint else [first.unit(unit)]
        for result in found:
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError(f"a unit is a plain function: {first.unit!r} is a coroutine function")
        results |= zip(members, found, strict=True)
        facts |= unit.flush()
    return [results[pending] for pending in group], frozenset(facts)


def _together(group: Sequence[Pending]) -> Iterable[list[Pending]]:
    """Return what runs as one, at the place of the first: parts of the same joint unit."""
    found: dict[object, list[Pending]] = {}
    for pending in group:
        found.setdefault(pending.unit if pending.joint else pending, []).append(pending)
    return found.values()


def _sender(members: Sequence[Pending]) -> str:
    """Return who writes; of several what their names have in common: submitter.alps and submitter.jura are the submitter."""
    senders = {pending.sender for pending in members}
    return members[0].sender if len(senders) == 1 else members[0].sender.partition(".")[0]


def _cause(error: BaseException) -> str:
    return str(error.orig) if isinstance(error, sa.exc.DBAPIError) else str(error)

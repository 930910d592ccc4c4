"""Transfer tasks: one per file and destination; every update states task, attempt and fence (TX-06)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.transfer import TRANSFER_TABLE, TransferState
from storage import bulk, counters, schema
from storage.engine import among
from storage.moves import move
from storage.transaction import Tx

transfer, file, replica, tally = schema.transfer, schema.file, schema.replica, schema.tally


class Transfer(NamedTuple):
    """A task with what its mover needs."""

    id: int
    file_id: int
    source: str
    destination: str
    state: TransferState
    attempt: int
    fence: int
    lfn: str
    size: int
    adler32: str
    sha256: str
    wake_at: float | None
    reason: str


_TASKS = sa.select(transfer.c.file_id, transfer.c.destination).where(among(transfer.c.file_id))


def want(tx: Tx, wanted: Sequence[tuple[int, str, str]]) -> None:
    """Ask for files at destinations: (file id, source site, destination site); a task that exists is left alone."""
    if not wanted:
        return
    present = {tuple(row) for row in tx.connection.execute(_TASKS, {"ids": [row[0] for row in wanted]})}
    new = [row for row in wanted if (row[0], row[2]) not in present and row[1] != row[2]]
    if not new:
        return
    counters.delivered(tx, sorted({owner for owner, _, _ in new}), -1)
    first = int(tx.connection.execute(sa.select(sa.func.coalesce(sa.func.max(transfer.c.id), 0))).scalar_one()) + 1
    rows = [
        {
            "id": first + n,
            "file_id": owner,
            "source": source,
            "destination": destination,
            "created_at": tx.now,
            "state": TransferState.WANTED,
            "since": tx.now,
        }
        for n, (owner, source, destination) in enumerate(new)
    ]
    bulk.insert(tx.connection, transfer, rows)
    counters.wanted(tx, first)
    tx.emit(e.TransfersWanted(ids=[first + n for n in range(len(new))]))


def load(connection: sa.Connection, states: Sequence[TransferState], *, limit: int = 1000) -> list[Transfer]:
    """Return tasks in these states, oldest first."""
    return _select(connection, transfer.c.state.in_(states), order=transfer.c.id, limit=limit)


def named(connection: sa.Connection, ids: Sequence[int]) -> list[Transfer]:
    """Return tasks by their ids."""
    return _select(connection, among(transfer.c.id, ids), order=transfer.c.id, limit=len(ids))


def due(connection: sa.Connection, now: float, limit: int = 1000) -> list[Transfer]:
    """Return tasks that may be offered: the oldest wanted at each destination, and those whose pause is over."""
    found: list[Transfer] = []
    for destination in destinations(connection, TransferState.WANTED):
        found += ahead(connection, TransferState.WANTED, destination, limit - len(found))
    paused = transfer.c.state.in_((TransferState.WAITING, TransferState.PARKED))
    over = sa.and_(transfer.c.wake_at <= now, paused)
    return found + _select(connection, over, order=transfer.c.wake_at, limit=limit)


def destinations(connection: sa.Connection, state: TransferState) -> list[str]:
    """Return the destinations of tasks in a state."""
    return sorted(row.site for row in counters.sums(connection, counters.TRANSFER, ("site",), tally.c.state == state))


def expected(connection: sa.Connection) -> set[str]:
    """Return the destinations to which something is ready to go, or waits."""
    there = tally.c.state.in_((TransferState.READY, TransferState.WAITING))
    return {row.site for row in counters.sums(connection, counters.TRANSFER, ("site",), there)}


def ahead(connection: sa.Connection, state: TransferState, destination: str, limit: int) -> list[Transfer]:
    """Return the oldest tasks in a state to one destination."""
    where = sa.and_(transfer.c.state == state, transfer.c.destination == destination)
    return _select(connection, where, order=transfer.c.id, limit=max(0, limit))


def _select(
    connection: sa.Connection, where: sa.ColumnElement[bool], *, order: sa.ColumnElement[Any], limit: int
) -> list[Transfer]:
    columns = (
        *(transfer.c[name] for name in Transfer._fields[:7]),
        file.c.lfn,
        file.c.size,
        file.c.adler32,
        file.c.sha256,
        transfer.c.wake_at,
        transfer.c.reason,
    )
    query = sa.select(*columns).join(file, file.c.id == transfer.c.file_id).where(where)
    return [_transfer(row) for row in connection.execute(query.order_by(order).limit(limit))]


def _transfer(row: Any) -> Transfer:
    values: tuple[Any, ...] = (*row[:4], TransferState(row[4]), *row[5:])
    return Transfer._make(values)


def offer(tx: Tx, ids: list[int]) -> list[int]:
    """Plan, offer and accept tasks whose source lies on disk: nothing has to be staged there."""
    planned = move(tx, transfer, TRANSFER_TABLE, e.TransfersPlanned(ids=ids), wake_at=None)
    offered = move(tx, transfer, TRANSFER_TABLE, e.TransfersOffered(ids=planned))
    return move(tx, transfer, TRANSFER_TABLE, e.TransfersReady(ids=offered))


def begin(tx: Tx, task: Transfer) -> Transfer | None:
    """Start an attempt under a new fence; None if somebody else has moved the task."""
    if not _same(tx, task):
        return None
    fence = task.fence + 1
    moved = move(tx, transfer, TRANSFER_TABLE, e.TransfersMoving(ids=[task.id]), attempt=task.attempt + 1, fence=fence)
    return task._replace(state=TransferState.MOVING, attempt=task.attempt + 1, fence=fence) if moved else None


def _same(tx: Tx, task: Transfer) -> bool:
    where = (transfer.c.id == task.id, transfer.c.attempt == task.attempt, transfer.c.fence == task.fence)
    return tx.connection.execute(sa.select(sa.func.count()).where(*where)).scalar_one() == 1


def landed(tx: Tx, task: Transfer) -> bool:
    """All bytes are there under the attempt's own name; False = a newer fence has taken over."""
    return _same(tx, task) and bool(move(tx, transfer, TRANSFER_TABLE, e.TransfersLanded(ids=[task.id])))


def verified(tx: Tx, task: Transfer, method: str) -> bool:
    """Published and equal to the catalogue: the replica is booked with the state."""
    if not _same(tx, task) or not move(tx, transfer, TRANSFER_TABLE, e.TransfersVerified(ids=[task.id])):
        return False
    tx.connection.execute(
        replica.insert().values(file_id=task.file_id, site=task.destination, method=method, verified_at=tx.now)
    )
    move(tx, transfer, TRANSFER_TABLE, e.TransfersSafe(ids=[task.id], reason="one verified disk copy"))
    counters.delivered(tx, [task.file_id], 1)
    return True


def wait(tx: Tx, task: Transfer, until: float, reason: str, *, counted: bool = True) -> bool:
    """Try again later; a try that is not `counted` ended for no fault of its own, and is given back."""
    event = e.TransfersWaiting(ids=[task.id], until=until, reason=reason)
    tries = task.attempt if counted else max(0, task.attempt - 1)
    return _same(tx, task) and bool(move(tx, transfer, TRANSFER_TABLE, event, wake_at=until, attempt=tries))


def note(tx: Tx, found: Sequence[tuple[Transfer, str]]) -> None:
    """Say of tasks that are being copied how far they are; of one that is not any more, nothing."""
    tx.connection.execute(
        _NOTE,
        [
            {"of": task.id, "try": task.fence, "text": text[:500], "moving": TransferState.MOVING}
            for task, text in found
        ],
    )


_NOTE = (
    transfer.update()
    .where(
        transfer.c.id == sa.bindparam("of"),
        transfer.c.fence == sa.bindparam("try"),
        transfer.c.state == sa.bindparam("moving"),
    )
    .values(reason=sa.bindparam("text"))
)


def park(tx: Tx, task: Transfer, until: float, reason: str) -> bool:
    """A person has to look at it; it is looked at again at `until`, in case one has."""
    return _same(tx, task) and bool(
        move(tx, transfer, TRANSFER_TABLE, e.TransfersParked(ids=[task.id], reason=reason), wake_at=until)
    )


def quarantine(tx: Tx, task: Transfer, reason: str) -> bool:
    """What lies at the destination contradicts the catalogue; it is not touched."""
    return _same(tx, task) and bool(
        move(tx, transfer, TRANSFER_TABLE, e.TransfersQuarantined(ids=[task.id], reason=reason))
    )


STOPPED = (TransferState.PARKED, TransferState.QUARANTINED)
"""What waits for a person."""
RETRIED = (*STOPPED, TransferState.WAITING)
CANCELLED = TRANSFER_TABLE.moves[e.TransfersCancelled].sources
"""What an operator may have tried once more, and what he may give up."""


def stuck(connection: sa.Connection) -> dict[tuple[TransferState, str], int]:
    """Return how many tasks wait for a person, by state and destination."""
    found = counters.sums(connection, counters.TRANSFER, ("state", "site"), tally.c.state.in_(STOPPED))
    return {(TransferState(row.state), row.site): row.number for row in found}


def chosen(
    connection: sa.Connection, states: Sequence[TransferState], ids: Sequence[int], destination: str = ""
) -> list[int]:
    """Return which of these tasks are in one of the states; without ids all to a destination that wait for a person."""
    stopped = sa.and_(transfer.c.destination == destination, transfer.c.state.in_(STOPPED))
    which = among(transfer.c.id, ids) if ids else stopped
    query = sa.select(transfer.c.id).where(which, transfer.c.state.in_(states)).order_by(transfer.c.id)
    return list(connection.execute(query).scalars())


def again(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Try tasks that were stopped once more, now."""
    event = e.TransfersWaiting(ids=ids, until=tx.now, reason=reason)
    return move(tx, transfer, TRANSFER_TABLE, event, wake_at=tx.now)


def cancel(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Nobody wants these files there any more; what lies there is not touched."""
    moved = move(tx, transfer, TRANSFER_TABLE, e.TransfersCancelled(ids=ids, reason=reason), wake_at=None)
    owners = sa.select(transfer.c.file_id).where(among(transfer.c.id, moved)).distinct()
    counters.delivered(tx, list(tx.connection.execute(owners).scalars()), 1)
    return moved


def next_wake(connection: sa.Connection) -> float | None:
    """Return when the next pause ends (UTC epoch seconds)."""
    paused = transfer.c.state.in_((TransferState.WAITING, TransferState.PARKED))
    first = sa.select(transfer.c.wake_at).where(transfer.c.wake_at.is_not(None), paused).order_by(transfer.c.wake_at)
    wake_at: float | None = connection.execute(first.limit(1)).scalar_one_or_none()
    return wake_at

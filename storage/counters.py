"""Counters that are kept beside the rows: how many items, events and bytes are where (PA-021).

They move in the transaction of the rows, so that a question after a sum reads some hundred rows whatever the size of the
store. What each column of the table `tally` holds for a kind of item stands in `COUNTED`. The law "counters" adds the
rows up and compares.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain.transfer import TransferState
from storage import bulk, schema
from storage.engine import among
from storage.transaction import Tx

tally, job, attempt, file, transfer = schema.tally, schema.job, schema.attempt, schema.file, schema.transfer

JOB, FILE, TRANSFER, ATTEMPT, DELIVERED = "job", "file", "transfer", "attempt", "delivered"
NONE: sa.ColumnElement[str] = sa.literal_column("''")
LIVE = "live"
"""State of an attempt without outcome."""

ARRIVED = (TransferState.SAFE, TransferState.RELEASABLE, TransferState.RELEASED, TransferState.CANCELLED)
"""States of a transfer that no longer keeps its file from counting as delivered."""
SERVED = ~sa.exists().where(transfer.c.file_id == file.c.id, transfer.c.state.not_in(ARRIVED))


class Place(NamedTuple):
    """Where an item is counted.

    `type`: of a job; kind of a file. `site`: to which a job is pinned, where a file lies, where a transfer goes, where an
    attempt runs. `target`: of a job or an attempt. Attempts are counted over all workflows (0).
    """

    state: str
    workflow_id: int
    type: str
    site: str
    target: str


class Counted(NamedTuple):
    """The columns of a table that say where a row counts (as in Place), and what of it is summed: events, bytes."""

    entity: str
    source: sa.FromClause
    place: tuple[sa.ColumnElement[Any], ...]
    events: sa.ColumnElement[Any]
    size: sa.ColumnElement[Any]


def _word(column: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    return sa.func.coalesce(column, NONE)


ZERO: sa.ColumnElement[int] = sa.literal_column("0")
COUNTED: Mapping[sa.Table, Counted] = {
    job: Counted(
        JOB,
        job,
        (job.c.state, job.c.workflow_id, job.c.type, _word(job.c.pinned), _word(job.c.target)),
        job.c.events,
        ZERO,
    ),
    file: Counted(
        FILE, file, (file.c.state, file.c.workflow_id, file.c.kind, file.c.site, NONE), file.c.events, file.c.size
    ),
    transfer: Counted(
        TRANSFER,
        transfer.outerjoin(file, file.c.id == transfer.c.file_id),
        (transfer.c.state, sa.func.coalesce(file.c.workflow_id, ZERO), NONE, transfer.c.destination, NONE),
        sa.func.coalesce(file.c.events, ZERO),
        sa.func.coalesce(file.c.size, ZERO),
    ),
}

Columns = tuple[sa.ColumnElement[Any], ...]
Sums = dict[tuple[str, Place], list[int]]
"""Changes of items, events and bytes, by entity and place."""


def columns(table: sa.Table) -> tuple[Columns, Columns]:
    """Return what `moved` has to be told: by what the rows of a table are grouped, and what is summed of each group."""
    counted = COUNTED.get(table)
    if counted is None:
        return (table.c.state,), ()
    return counted.place, (sa.func.count(), sa.func.sum(counted.events), sa.func.sum(counted.size))


def source(table: sa.Table) -> sa.FromClause:
    """Return the table, joined with what its places are read from."""
    return COUNTED[table].source if table in COUNTED else table


def moved(tx: Tx, table: sa.Table, rows: Iterable[Sequence[Any]], state: str, target: str | None) -> None:
    """Count groups of `columns(table)`, as they were, in their new state; `target`: the new one, None if it stays."""
    counted = COUNTED.get(table)
    if counted is None:
        return
    changes: Sums = {}
    for *place, items, events, size in rows:
        old = Place(*place)
        new = old._replace(state=state, target=old.target if target is None else target)
        change(changes, counted.entity, old, -items, -events, -size)
        change(changes, counted.entity, new, items, events, size)
    book(tx.connection, changes)


def wanted(tx: Tx, first: int) -> None:
    """Count the transfers from the id `first` on, which were made just now."""
    counted = COUNTED[transfer]
    made = sa.select(*counted.place, counted.events, counted.size).select_from(counted.source)
    changes: Sums = {}
    for *place, events, size in tx.connection.execute(made.where(transfer.c.id >= first)):
        change(changes, TRANSFER, Place(*place), 1, events, size)
    book(tx.connection, changes)


def change(changes: Sums, entity: str, place: Place, items: int, events: int = 0, size: int = 0) -> None:
    """Note a change, to be booked together with others."""
    sums = changes.setdefault((entity, place), [0, 0, 0])
    sums[0] += items
    sums[1] += events
    sums[2] += size


def book(connection: sa.Connection, changes: Sums) -> None:
    """Add the changes up in the table."""
    rows = [(entity, *place, *sums) for (entity, place), sums in sorted(changes.items()) if any(sums)]
    if rows:
        bulk.run_all(connection, _adding(connection.dialect), rows)


@cache
def _adding(dialect: sa.Dialect) -> str:
    """Return the statement that adds to a row of the table, or makes it; its parameters are in the order of the columns."""
    sums = ("number", "events", "bytes")
    key = [column.name for column in tally.primary_key.columns]
    statement, names = bulk.adding(tally, key, lambda new: {name: tally.c[name] + new[name] for name in sums}, dialect)
    assert list(names) == [column.name for column in tally.columns]
    return statement


# ---------------------------------------------------------------- attempts
def begun(tx: Tx, places: Iterable[tuple[str, str]]) -> None:
    """Count a new attempt at each of (site, target)."""
    counts = Counter(places).items()
    book(tx.connection, {(ATTEMPT, Place(LIVE, 0, "", *place)): [count, 0, 0] for place, count in counts})


def closed(tx: Tx, live: Sequence[sa.ColumnElement[bool]], outcome: str) -> None:
    """Count attempts that are chosen by `live`, and still are live, with their outcome."""
    query = sa.select(attempt.c.site, attempt.c.target).where(*live)
    closed_at(tx, [(site, target) for site, target in tx.connection.execute(query)], outcome)


def closed_at(tx: Tx, places: Iterable[tuple[str | None, str | None]], outcome: str) -> None:
    """Count one live attempt at each of (site, target) with its outcome."""
    changes: Sums = {}
    for (site, target), count in Counter(places).items():
        before = Place(LIVE, 0, "", site or "", target or "")
        change(changes, ATTEMPT, before, -count)
        change(changes, ATTEMPT, before._replace(state=outcome), count)
    book(tx.connection, changes)


# ---------------------------------------------------------------- delivered files
_SERVED = sa.select(file.c.workflow_id, file.c.events, file.c.size).where(among(file.c.id), SERVED)


def delivered(tx: Tx, file_ids: Sequence[int], sign: int) -> None:
    """Count catalogued files in (`sign` 1) or out (-1) whose every transfer has arrived."""
    changes: Sums = {}
    for owner, events, size in tx.connection.execute(_SERVED, {"ids": list(file_ids)}):
        change(changes, DELIVERED, Place("", owner, "", "", ""), sign, sign * events, sign * size)
    book(tx.connection, changes)


# ---------------------------------------------------------------- questions
def sums(
    connection: sa.Connection, entity: str, by: Sequence[str], *where: sa.ColumnElement[bool]
) -> list[sa.Row[*tuple[Any, ...]]]:
    """Return rows of (columns named in `by`, items, events, bytes) of one kind of item; none that counts nothing."""
    return list(connection.execute(summing(entity, by, *where)))


def summing(entity: str, by: Sequence[str], *where: sa.ColumnElement[bool]) -> sa.Select[*tuple[Any, ...]]:
    """Return the question of `sums`, for those who ask it so often that it is worth making once."""
    columns_by = [tally.c[name] for name in by]
    totals = [sa.func.sum(tally.c[name]).label(name) for name in ("number", "events", "bytes")]
    query = sa.select(*columns_by, *totals).where(tally.c.entity == entity, tally.c.number != 0, *where)
    return query.group_by(*columns_by)


def items(connection: sa.Connection, entity: str, states: Iterable[str], *where: sa.ColumnElement[bool]) -> int:
    """Return how many items of a kind are in one of these states."""
    return int(connection.execute(counting(entity, states, *where)).scalar_one())


def counting(entity: str, states: Iterable[str], *where: sa.ColumnElement[bool]) -> sa.Select[int]:
    """Return the question of `items`, for those who ask it so often that it is worth making once."""
    query = sa.select(sa.func.coalesce(sa.func.sum(tally.c.number), 0))
    return query.where(tally.c.entity == entity, tally.c.state.in_([str(state) for state in states]), *where)


def purge(tx: Tx, workflow_ids: Sequence[int]) -> None:
    """Forget the places of ended workflows at which nothing is counted any more."""
    tx.connection.execute(tally.delete().where(tally.c.workflow_id.in_(list(workflow_ids)), tally.c.number == 0))

"""The oldest or newest jobs and files of chosen places, without looking at any other.

The table of counters says at which places there is anything at all; each place is one range of an index, in the order of
the ids. So a thousand jobs are chosen from a million in the time that reading a thousand takes (PA-201).
"""

import heapq
from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any, NamedTuple

import sqlalchemy as sa

from storage import schema
from storage.counters import FILE, JOB, Place

job, file, tally = schema.job, schema.file, schema.tally


class Standing(NamedTuple):
    """How many items stand at a place."""

    place: Place
    number: int


def standings(connection: sa.Connection, entity: str, *where: sa.ColumnElement[bool]) -> list[Standing]:
    """Return the places of a kind of item at which something stands; `where` is on the table of counters."""
    return _standings(connection, _standing(entity).where(*where))


def in_states(connection: sa.Connection, entity: str, states: Sequence[str]) -> list[Standing]:
    """Return the places at which something stands in one of these states."""
    return _standings(connection, _standing_in(entity, tuple(map(str, states))))


def _standings(connection: sa.Connection, query: sa.Select[Any]) -> list[Standing]:
    return [Standing(Place(*row[:-1]), row[-1]) for row in connection.execute(query)]


@cache
def _standing(entity: str) -> sa.Select[Any]:
    columns = (*(tally.c[name] for name in Place._fields), tally.c.number)
    return sa.select(*columns).where(tally.c.entity == entity, tally.c.number > 0)


@cache
def _standing_in(entity: str, states: tuple[str, ...]) -> sa.Select[Any]:
    return _standing(entity).where(tally.c.state.in_(states))


def ids(
    connection: sa.Connection,
    entity: str,
    places: Sequence[tuple[Place, int]],
    limit: int,
    *,
    newest: bool = False,
    after: int = 0,
) -> list[int]:
    """Return the first ids over all places, at most `limit` in all and so many (the number beside it) of each place.

    `newest`: the last ids instead, downwards. `after`: only ids behind this one.
    """
    found = [_ids_at(connection, entity, place, min(most, limit), newest, after) for place, most in places]
    return list(islice(heapq.merge(*found, reverse=newest), limit))


def placed(
    connection: sa.Connection, entity: str, places: Sequence[tuple[Place, int]], limit: int
) -> list[tuple[int, Place]]:
    """As `ids`, each with its place."""
    found = (
        [(identity, n) for identity in _ids_at(connection, entity, place, min(most, limit), False, 0)]
        for n, (place, most) in enumerate(places)
    )
    return [(identity, places[n][0]) for identity, n in islice(heapq.merge(*found), limit)]


def _ids_at(connection: sa.Connection, entity: str, place: Place, most: int, newest: bool, after: int) -> Sequence[int]:
    query = _at(entity, bool(place.site), bool(place.target), newest)
    return connection.execute(query, {**place._asdict(), "most": most, "after": after}).scalars().all()


@cache
def _at(entity: str, sited: bool, targeted: bool, newest: bool) -> sa.Select[int]:
    """Return the query for one place; a job that is pinned nowhere or at no target has NULL there."""
    given: dict[str, sa.BindParameter[Any]] = {name: sa.bindparam(name) for name in Place._fields}
    if entity == JOB:
        table = job
        where = [
            job.c.workflow_id == given["workflow_id"],
            job.c.state == given["state"],
            job.c.type == given["type"],
            job.c.pinned == given["site"] if sited else job.c.pinned.is_(None),
            job.c.target == given["target"] if targeted else job.c.target.is_(None),
        ]
    else:
        assert entity == FILE
        table = file
        where = [
            file.c.workflow_id == given["workflow_id"],
            file.c.state == given["state"],
            file.c.site == given["site"],
            file.c.kind == given["type"],
        ]
    order = table.c.id.desc() if newest else table.c.id
    return (
        sa.select(table.c.id)
        .where(*where, table.c.id > sa.bindparam("after"))
        .order_by(order)
        .limit(sa.bindparam("most"))
    )


def reasons(connection: sa.Connection, place: Place) -> list[tuple[str, int]]:
    """Return why the jobs of a place are in their state, and how many for each reason, the most frequent first."""
    number, why = sa.func.count(), sa.func.coalesce(job.c.reason, "")
    at = _at(JOB, bool(place.site), bool(place.target), False).whereclause
    assert at is not None
    query = sa.select(why, number).where(at).group_by(why).order_by(number.desc(), why)
    return [(row[0], row[1]) for row in connection.execute(query, {**place._asdict(), "after": 0})]


def oldest(connection: sa.Connection, entity: str, states: Sequence[str], limit: int, after: int = 0) -> list[int]:
    """Return the first ids in these states; `after`: behind this one."""
    chosen = in_states(connection, entity, states)
    return ids(connection, entity, [(one.place, limit) for one in chosen], limit, after=after)

"""Nodes that fail attempts fast, and those that get no jobs for it: seen and changed by operators too (PA-321)."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from domain.nodes import NodeRules, is_black_hole, struck
from storage import bulk, schema
from storage.engine import Connection
from storage.transaction import Tx

node, attempt = schema.node, schema.attempt


class NodeView(msgspec.Struct, frozen=True, kw_only=True):
    """An excluded node as operators see it."""

    site: str
    node: str
    since: float
    until: float | None
    reason: str
    who: str


class Excluded(NamedTuple):
    """A node that gets no jobs: since when, until when (UTC epoch seconds; None: until somebody allows it), why, by whom."""

    site: str
    node: str
    since: float
    until: float | None
    reason: str
    who: str

    @property
    def view(self) -> NodeView:
        """The same with names, for JSON."""
        return NodeView(**self._asdict())


GUARD = "error"
"""Who excludes nodes that fail jobs fast: the actor of that name."""
LATELY = 2000
"""So many attempts, over all targets, tell which nodes there are and what ended there."""
FOREVER = 4_102_444_800.0
"""The year 2100 in UTC epoch seconds: how "until somebody allows it" is kept."""


_THIS = (node.c.site == sa.bindparam("at"), node.c.node == sa.bindparam("called"))
_NEWEST = sa.select(sa.func.coalesce(sa.func.max(attempt.c.id), 0)).scalar_subquery()
_RECORD = (
    sa.select(attempt.c.outcome, sa.func.count())
    .where(
        attempt.c.id > _NEWEST - LATELY, attempt.c.site == sa.bindparam("at"), attempt.c.node == sa.bindparam("called")
    )
    .group_by(attempt.c.outcome)
)
_KNOWN = sa.select(node.c.strikes, node.c.until).where(*_THIS)


@cache
def _change(columns: tuple[str, ...]) -> sa.Update:
    return node.update().where(*_THIS).values({name: sa.bindparam(f"new_{name}") for name in columns})


def strike(tx: Tx, places: Mapping[tuple[str, str], Sequence[float]], rules: NodeRules, reason: str) -> list[Excluded]:
    """Count fast failures at nodes, by (site, node) with their times; return the nodes that are excluded by it."""
    out = []
    for (site, name), times in places.items():
        row = tx.connection.execute(_KNOWN, {"at": site, "called": name}).one_or_none()
        before = [float(word) for word in row.strikes.split()] if row is not None else []
        recent, bad = struck(before, times, tx.now, rules)
        already = row is not None and row.until is not None and row.until > tx.now
        if bad and not already and is_black_hole(*_record(tx.connection, site, name)):
            text = f"{len(recent)} {reason}"
            out.append(Excluded(site, name, tx.now, tx.now + rules.exclude_s, text, GUARD))
        else:
            _put(tx, site, name, strikes=" ".join(f"{at:.0f}" for at in recent))
    for one in out:
        exclude(tx, one)
    return out


def _record(connection: Connection, site: str, name: str) -> tuple[int, int]:
    """Return how many of the last attempts ended well at a node, and how many failed."""
    ends = {row[0]: int(row[1]) for row in connection.execute(_RECORD, {"at": site, "called": name})}
    return ends.get("success", 0), sum(ends.get(outcome, 0) for outcome in schema.FAILED)


def exclude(tx: Tx, one: Excluded) -> None:
    """Give a node no jobs."""
    until = FOREVER if one.until is None else one.until
    _put(tx, one.site, one.node, strikes="", since=one.since, until=until, reason=one.reason[:500], who=one.who)


def allow(tx: Tx, site: str, name: str, who: str) -> bool:
    """Give a node jobs again; False if it was not excluded."""
    change = node.update().where(node.c.site == site, node.c.node == name, node.c.until > tx.now)
    return tx.connection.execute(change.values(until=tx.now, strikes="", who=who)).rowcount > 0


_EXCLUDED = (
    sa.select(*(node.c[name] for name in Excluded._fields))
    .where(node.c.until > sa.bindparam("now"))
    .order_by(node.c.site, node.c.node)
)
_EXCLUDED_AT = _EXCLUDED.where(node.c.site == sa.bindparam("at"))


def excluded(connection: Connection, now: float, site: str | None = None) -> list[Excluded]:
    """Return the nodes that are excluded now, by name."""
    query, given = (_EXCLUDED, {"now": now}) if site is None else (_EXCLUDED_AT, {"now": now, "at": site})
    rows = [Excluded(*row) for row in connection.execute(query, given)]
    return [row._replace(until=None) if row.until == FOREVER else row for row in rows]


def seen(connection: Connection, target: str) -> set[str]:
    """Return the nodes that jobs of the last attempts ran on at a target."""
    lately = (attempt.c.id > _NEWEST - LATELY, attempt.c.target == target, attempt.c.node != "")
    return set(connection.execute(sa.select(attempt.c.node).distinct().where(*lately)).scalars())


def _put(tx: Tx, site: str, name: str, **values: object) -> None:
    place = {"at": site, "called": name}
    given = {f"new_{column}": value for column, value in values.items()}
    same = tx.connection.execute(_change(tuple(values)), place | given).rowcount == 0
    if same and tx.connection.execute(_KNOWN, place).one_or_none() is None:  # MariaDB counts rows that really change
        bulk.insert(tx.connection, node, [{"site": site, "node": name, **values}])

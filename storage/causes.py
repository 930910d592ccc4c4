"""Why attempts failed, added up: one row for each code, site, node, workflow and pattern of the message (PA-416).

The rows grow with the kinds of failure, not with the failures: a question after the most frequent causes reads these only.
Their number is bounded too, since farms have thousands of nodes: where there are too many, nodes with few failures, then rare
patterns, are added up as "(others)". Sums by workflow, outcome, code and site stay exact.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import islice
from typing import Any

import sqlalchemy as sa

from domain.fingerprint import fingerprint
from domain.rules import Rule
from storage import bulk, counters, schema
from storage.engine import among
from storage.transaction import Tx

attempt, cause, job = schema.attempt, schema.cause, schema.job

KEY = ("workflow_id", "outcome", "exit_code", "site", "node", "fingerprint")
OTHERS = "(others)"
"""Node, and fingerprint, of what was added up; no host and no fingerprint is called so."""
MOST = 6_000
"""More rows than this are made fewer. Sums over 6,000, of whatever columns, take 8 to 43 ms on SQLite and 11 to 67 ms on
MariaDB 10.11 (measured beside other work: two cores, load 4), and PA-416 allows 100."""
ENOUGH = 4_500
FRESH_S = 86_400.0
"""A node that has failed this lately goes into the others after all that have not, in seconds."""
CHUNK = 500
"""Most rows that are added up in one unit: 25 ms of the writer."""

_LIVE = (
    sa.select(attempt.c.id, attempt.c.job_id, job.c.workflow_id, attempt.c.site, attempt.c.target, attempt.c.node)
    .join(job, job.c.id == attempt.c.job_id)
    .where(among(attempt.c.job_id), attempt.c.live == 1)
    .order_by(attempt.c.id)
)


def note(tx: Tx, outcome: str, failures: Mapping[int, tuple[int, str, Rule]]) -> None:
    """Count the live attempts of jobs, by job with (exit code, message, rule), as ended; to be called before they are closed."""
    if not failures:
        return
    live = tx.connection.execute(_LIVE, {"ids": list(failures)}).all()
    counters.closed_at(tx, [(row.site, row.target) for row in live], outcome)
    if outcome not in schema.FAILED:
        return
    found: dict[tuple[Any, ...], tuple[int, int, Rule]] = {}
    for row in live:
        code, text, rule = failures[row.job_id]
        key = (row.workflow_id, outcome, code, row.site, row.node, fingerprint(text))
        count = found[key][0] if key in found else 0
        found[key] = count + 1, row.id, rule
    rows = [
        dict(zip(KEY, key, strict=True))
        | {"blame": str(rule.blame), "rule": rule.name, "count": count, "attempt_id": newest}
        | {"first_at": tx.now, "last_at": tx.now}
        for key, (count, newest, rule) in sorted(found.items(), key=lambda one: one[0])
    ]
    bulk.run(tx.connection, _adding(tx.connection.dialect), rows)


@cache
def _adding(dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    """Return the statement that adds to a row of the table, or makes it, and the columns in the order it takes them."""
    return bulk.adding(cause, KEY, _grown, dialect)


def _grown(new: Any) -> dict[str, Any]:
    latest = {name: new[name] for name in ("last_at", "attempt_id", "rule", "blame")}
    return {"count": cause.c["count"] + new["count"], **latest}


# ---------------------------------------------------------------- fewer rows
def surplus(connection: sa.Connection, now: float, most: int = MOST, enough: int = ENOUGH) -> list[int]:
    """Return the rows to be added up, [] while no more than `most` name a node or a pattern: then `enough` are left.

    Nodes go whole, so that what is said of one that is named is all of it since it was last forgotten: first those that have
    not failed of late, then those with the fewest failures. Of patterns without a node the rarest go.
    """
    names = sa.or_(cause.c.node != OTHERS, cause.c.fingerprint != OTHERS)
    if connection.execute(sa.select(sa.func.count()).select_from(cause).where(names)).scalar_one() <= most:
        return []
    columns = (cause.c[name] for name in ("id", "site", "node", "last_at"))
    rows = connection.execute(sa.select(*columns, cause.c["count"].label("failures")).where(names)).all()
    at_nodes = [row for row in rows if row.node != OTHERS]
    patterns = sorted(
        (row for row in rows if row.node == OTHERS), key=lambda row: (-row.failures, -row.last_at, row.id)
    )
    kept = patterns[: enough // 2]
    rare = [row.id for row in patterns[len(kept) :]]
    return rare + _least_nodes(at_nodes, now, len(at_nodes) + len(kept) - enough)


def _least_nodes(rows: Iterable[Any], now: float, over: int) -> list[int]:
    ids: dict[tuple[str, str], list[int]] = defaultdict(list)
    failures: Counter[tuple[str, str]] = Counter()
    fresh: dict[tuple[str, str], bool] = defaultdict(bool)
    for row in rows:
        at = row.site, row.node
        ids[at].append(row.id)
        failures[at] += row.failures
        fresh[at] |= row.last_at > now - FRESH_S
    chosen: list[int] = []
    for at in sorted(ids, key=lambda at: (fresh[at], failures[at], at)):
        if len(chosen) >= over:
            break
        chosen += ids[at]
    return chosen


def add_up(tx: Tx, ids: Iterable[int]) -> int:
    """Put rows together with the others of their workflow, outcome, code and site; return how many there were."""
    chosen = list(islice(ids, CHUNK))
    columns = [column for column in cause.columns if column is not cause.autoincrement_column]
    old = tx.connection.execute(sa.select(*columns).where(among(cause.c.id, chosen))).mappings().all()
    tx.connection.execute(cause.delete().where(among(cause.c.id, chosen)))
    there = tx.connection.execute(sa.select(*columns).where(cause.c.node == OTHERS)).mappings().all()
    found = {tuple(row[name] for name in KEY): dict(row) for row in there}
    new: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in old:
        wide = dict(row) | {"node": OTHERS}
        if row["node"] == OTHERS:
            wide["fingerprint"] = OTHERS
        key = tuple(wide[name] for name in KEY)
        known = new.get(key) or found.get(key)
        new[key] = wide if known is None else _both(known, wide)
    bulk.put(tx.connection, cause, KEY, list(new.values()))
    return len(old)


def _both(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two rows as one: the newer attempt says blame and rule."""
    newer = max(one, other, key=lambda row: row["attempt_id"])
    sums = {"count": one["count"] + other["count"], "first_at": min(one["first_at"], other["first_at"])}
    return dict(newer) | sums | {"last_at": max(one["last_at"], other["last_at"])}

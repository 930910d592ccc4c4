"""Why attempts failed, added up: one row for each code, site, node, workflow and pattern of the message (PA-416).

The rows grow with the kinds of failure, not with the failures: a question after the most frequent causes reads these only.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa

from domain.fingerprint import fingerprint
from domain.rules import Rule
from storage import bulk, counters, schema
from storage.engine import among
from storage.transaction import Tx

attempt, cause, job = schema.attempt, schema.cause, schema.job

KEY = ("workflow_id", "outcome", "exit_code", "site", "node", "fingerprint")


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

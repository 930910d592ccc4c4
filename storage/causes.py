"""Why attempts failed, added up: one row for each code, site, node, workflow and pattern of the message (PA-416).

The rows grow with the kinds of failure, not with the failures: a question after the most frequent causes reads these only.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, sqlite

from domain.exit_codes import classify
from domain.fingerprint import fingerprint
from storage import counters, schema
from storage.engine import among
from storage.transaction import Tx

attempt, cause, job = schema.attempt, schema.cause, schema.job

KEY = ("workflow_id", "outcome", "exit_code", "site", "node", "fingerprint")


def note(tx: Tx, outcome: str, failures: Mapping[int, tuple[int, str]]) -> None:
    """Count the live attempts of jobs, by job with (exit code, message), as ended; to be called before they are closed."""
    if not failures:
        return
    columns = (attempt.c.id, attempt.c.job_id, job.c.workflow_id, attempt.c.site, attempt.c.target, attempt.c.node)
    query = sa.select(*columns).join(job, job.c.id == attempt.c.job_id)
    live = tx.connection.execute(
        query.where(among(attempt.c.job_id, list(failures)), attempt.c.live == 1).order_by(attempt.c.id)
    ).all()
    counters.closed_at(tx, [(row.site, row.target) for row in live], outcome)
    if outcome not in schema.FAILED:
        return
    found: dict[tuple[Any, ...], tuple[int, int]] = {}
    for row in live:
        code, text = failures[row.job_id]
        key = (row.workflow_id, outcome, code, row.site, row.node, fingerprint(text))
        count, _ = found.get(key, (0, 0))
        found[key] = count + 1, row.id
    rows = [
        dict(zip(KEY, key, strict=True))
        | {"blame": str(classify(key[2]).blame), "count": count, "attempt_id": newest}
        | {"first_at": tx.now, "last_at": tx.now}
        for key, (count, newest) in sorted(found.items())
    ]
    statement, names = _adding(tx.connection.dialect)
    tx.connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


@cache
def _adding(dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    """Return the statement that adds to a row of the table, or makes it, and the columns in the order it takes them."""
    values: dict[str, Any] = {column.name: sa.bindparam(column.name) for column in cause.columns if column.name != "id"}
    statement: sa.Insert
    if dialect.name == "sqlite":
        lite = sqlite.insert(cause).values(values)
        statement = lite.on_conflict_do_update(index_elements=list(KEY), set_=_grown(lite.excluded))
    else:
        maria = mysql.insert(cause).values(values)
        statement = maria.on_duplicate_key_update(_grown(maria.inserted))
    compiled: Any = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup)


def _grown(new: Any) -> dict[str, Any]:
    return {"count": cause.c["count"] + new["count"], "last_at": new.last_at, "attempt_id": new.attempt_id}

"""Attempts at targets that are no longer configured: nobody would ask after them."""

from collections.abc import Collection

import sqlalchemy as sa

from domain.exit_codes import ABSENT
from domain.job import AT_TARGET
from storage import alerts, attempts, counters, schema
from storage.attempts import Failure
from storage.engine import Connection
from storage.transaction import Tx

attempt, job = schema.attempt, schema.job


def stranded(connection: Connection, known: Collection[str]) -> dict[str, int]:
    """Return how many live attempts there are at each target that is not in `known`."""
    rows = counters.sums(connection, counters.ATTEMPT, ("target",), schema.tally.c.state == counters.LIVE)
    return {row.target: int(row.number) for row in rows if row.target not in known}


def at(connection: Connection, target: str) -> list[int]:
    """Return the jobs with a live attempt at a target."""
    query = sa.select(attempt.c.job_id).where(attempt.c.target == target, attempt.c.live == 1)
    return list(connection.execute(query.order_by(attempt.c.job_id)).scalars())


def abandon(tx: Tx, target: str, who: str) -> list[int]:
    """Give up every live attempt at a target and return the jobs: they are tried elsewhere on the allowance for infrastructure.

    What an attempt still does there changes nothing any more: it is fenced, and writes under names of its own.
    """
    reason = f"target {target} was abandoned by {who}"
    held = at(tx.connection, target)
    outside = sa.select(job.c.id).where(job.c.target == target, job.c.state.in_(AT_TARGET))
    attempts.lost(tx, list(tx.connection.execute(outside).scalars()), reason)
    failed = attempts.fail(tx, [Failure(owner, ABSENT, reason) for owner in held], outcome="lost", reason=reason)
    alerts.record(tx, who, "abandon", target, f"{len(failed)} jobs tried again elsewhere")
    return failed

"""Attempts that were ended here and whose end their target has not confirmed yet: killed ones, withdrawn ones, given up ones.

The tracker asks for their end until it has come (PA-316); what is counted here is what is left of that.
"""

from collections.abc import Sequence

import msgspec
import sqlalchemy as sa

from storage import counters, schema
from storage.barriers import MAY_RUN
from storage.engine import Connection, among, among_words

attempt, job, workflow = schema.attempt, schema.job, schema.workflow


class Ending(msgspec.Struct, frozen=True):
    """How many attempts of a workflow a target has still to end, of how many jobs, the first of which is `job`; `since`: when
    the oldest was ended here (UTC epoch seconds)."""

    target: str
    workflow: str
    request: str
    attempts: int
    jobs: int
    job: int
    since: float


_OPEN = (
    sa.select(
        attempt.c.target,
        workflow.c.name,
        workflow.c.request,
        sa.func.count(),
        sa.func.count(attempt.c.job_id.distinct()),
        sa.func.min(attempt.c.job_id),
        sa.func.min(attempt.c.closed_at),
    )
    .join(job, job.c.id == attempt.c.job_id)
    .join(workflow, workflow.c.id == job.c.workflow_id)
    .where(attempt.c.live.is_(None), attempt.c.cleaned.is_(None), attempt.c.outcome.in_(MAY_RUN))
    .group_by(attempt.c.target, workflow.c.name, workflow.c.request)
    .order_by(attempt.c.target, workflow.c.name)
)
_EVERYWHERE = _OPEN.where(among_words(attempt.c.target))
_OF_JOBS = _OPEN.where(among(attempt.c.job_id))


def endings(
    connection: Connection, *, jobs: Sequence[int] | None = None, workflow_name: str = "", request: str = ""
) -> list[Ending]:
    """Return what targets have still to end: of all, of these jobs, of a workflow, of a request."""
    if jobs is not None:
        found = connection.execute(_OF_JOBS, {"ids": list(jobs)})
    else:
        targets = [row.target for row in counters.sums(connection, counters.ATTEMPT, ("target",))]
        found = connection.execute(_EVERYWHERE, {"words": sorted(set(targets))})
    every = [Ending(*row) for row in found]
    return [one for one in every if workflow_name in ("", one.workflow) and request in ("", one.request)]

"""What a workflow's jobs turned out to need more of than it says: noted for each job, in force for all once it is no exception
(PA-408)."""

from typing import NamedTuple

import sqlalchemy as sa

from domain.escalation import Need
from domain.job import JobType
from domain.rules import Action
from storage import alerts, bulk, counters, schema
from storage.engine import Connection
from storage.transaction import Tx

learned, tally, workflow = schema.learned, schema.tally, schema.workflow

LEAST = 3
"""Fewer jobs than this are an accident, whatever their share."""
RESOURCES = {Action.MORE_MEMORY: "memory_mb", Action.MORE_TIME: "wall_s"}


class Lesson(NamedTuple):
    """`jobs` needed more of a resource, `amount` in its unit (memory_mb, wall_s); `since`: in force for all (UTC epoch
    seconds)."""

    workflow_id: int
    type: str
    resource: str
    jobs: int
    amount: int
    since: float | None


def note(tx: Tx, workflow_id: int, kind: JobType, action: Action, need: Need, percent: float) -> None:
    """Note that a job gets more; from `percent` of the jobs on, all of its type get the least that one of them was given."""
    resource = RESOURCES[action]
    key = {"workflow_id": workflow_id, "type": kind, "resource": resource}
    where = [learned.c[name] == value for name, value in key.items()]
    row = tx.connection.execute(sa.select(learned).where(*where)).one_or_none()
    given = getattr(need, resource)
    jobs, amount = (row.jobs + 1, min(row.amount, given)) if row is not None else (1, given)
    since = row.since if row is not None else None
    ours = (tally.c.workflow_id == workflow_id, tally.c.type == kind)
    made = counters.sums(tx.connection, counters.JOB, ("type",), *ours)
    whole = sum(int(one.number) for one in made)
    if since is None and jobs >= max(LEAST, percent * whole / 100.0):
        since = tx.now
        name = tx.connection.execute(sa.select(workflow.c.name).where(workflow.c.id == workflow_id)).scalar_one()
        text = f"{jobs} of {whole} {kind} jobs needed more: all get {resource} = {amount} from now on"
        alerts.record(tx, "error", "learned", name, text)
    tx.connection.execute(learned.delete().where(*where))
    bulk.insert(tx.connection, learned, [{**key, "jobs": jobs, "amount": amount, "since": since}])


def in_force(connection: Connection) -> dict[tuple[int, str], dict[str, int]]:
    """Return what all jobs get, by workflow and type: amounts by resource."""
    found: dict[tuple[int, str], dict[str, int]] = {}
    for one in lessons(connection):
        if one.since is not None:
            found.setdefault((one.workflow_id, one.type), {})[one.resource] = one.amount
    return found


_LESSONS = sa.select(*(learned.c[name] for name in Lesson._fields)).order_by(learned.c.workflow_id)


def lessons(connection: Connection) -> list[Lesson]:
    """Return all that was noted."""
    return [Lesson(*row) for row in connection.execute(_LESSONS)]


def forget(tx: Tx, name: str) -> int:
    """Give the jobs of a workflow what it says again; return how many lessons were forgotten."""
    owner = sa.select(workflow.c.id).where(workflow.c.name == name).scalar_subquery()
    return tx.connection.execute(learned.delete().where(learned.c.workflow_id == owner)).rowcount

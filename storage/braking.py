"""Brakes of workflows: what their attempts came to since they were last released, and which of them run probes first."""

from collections.abc import Iterable
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.braking import BrakeRules, Record, passed
from domain.job import JobState, JobType
from domain.rules import Blame
from domain.workflow import WORKFLOW_TABLE
from storage import alerts, counters, heads, schema
from storage.engine import Connection
from storage.moves import move
from storage.transaction import Tx

brake, cause, tally = schema.brake, schema.cause, schema.tally
attempt, job, workflow = schema.attempt, schema.job, schema.workflow
GOOD = (JobState.ACCOUNTED, JobState.SUCCESS, JobState.CLEANED)


FREE = -1
"""As many probes as it takes: they went well."""


class Braked(NamedTuple):
    """How a workflow stands that was braked once: its counts when it stopped or was released, and how many probes it runs
    (0: it waits for a person; FREE: its probes went well)."""

    failed: int
    succeeded: int
    probes: int


def load(connection: Connection) -> dict[int, Braked]:
    """Return the workflows that were braked, by id."""
    query = sa.select(brake.c.workflow_id, *(brake.c[name] for name in Braked._fields))
    return {owner: Braked(*rest) for owner, *rest in connection.execute(query)}


def record(connection: Connection, workflow_id: int, since: Braked | None) -> Record:
    """Return what the processing attempts of a workflow came to; with `since`, only what came after it."""
    where = _by_payload(workflow_id)
    whole = connection.execute(sa.select(sa.func.sum(cause.c["count"])).where(*where)).scalar_one()
    failed = int(whole or 0) - (since.failed if since else 0)
    good = succeeded(connection, workflow_id) - (since.succeeded if since else 0)
    if failed <= 0:
        return Record(0, 0, "", good)
    count, newest = sa.func.sum(cause.c["count"]).label("failures"), sa.func.max(cause.c.attempt_id).label("newest")
    kinds = sa.select(count, newest).where(*where).group_by(cause.c.exit_code, cause.c.fingerprint)
    top = connection.execute(kinds.order_by(count.desc(), newest.desc()).limit(1)).one()
    text = connection.execute(sa.select(attempt.c.cause).where(attempt.c.id == top.newest)).scalar_one()
    return Record(failed, min(int(top.failures), failed), text or "", good)


def _by_payload(workflow_id: int) -> tuple[sa.ColumnElement[bool], ...]:
    return cause.c.workflow_id == workflow_id, cause.c.blame == Blame.PAYLOAD


def succeeded(connection: Connection, workflow_id: int) -> int:
    """Return how many processing jobs of a workflow have succeeded."""
    ours = (tally.c.workflow_id == workflow_id, tally.c.type == JobType.PROCESSING)
    return counters.items(connection, counters.JOB, GOOD, *ours)


SAMPLE = 2000
"""Characters of a log that an alert shows."""


def stop(tx: Tx, workflow_id: int, why: str) -> bool:
    """Pause a workflow and tell people once, with the end of its newest log; False if it is not active."""
    moved = move(tx, workflow, WORKFLOW_TABLE, e.WorkflowsPaused(ids=[workflow_id], reason=f"broken: {why}"))
    if not moved:
        return False
    _count_from_now(tx, workflow_id, 0, why)
    name = _name(tx, workflow_id)
    newest = sa.select(sa.func.max(cause.c.attempt_id)).where(*_by_payload(workflow_id)).scalar_subquery()
    log = tx.connection.execute(sa.select(attempt.c.log).where(attempt.c.id == newest)).scalar_one_or_none() or ""
    text = f"workflow {name} is paused: {why}; `release {name}` runs probes first\n{log[-SAMPLE:]}".strip()
    alerts.raise_alert(tx, "error", "workflow-broken", name, text)
    return True


def idle(connection: Connection, most: int) -> list[int]:
    """Return processing jobs of workflows that wait for a person which are on their way and have not begun."""
    owners = [owner for owner, one in load(connection).items() if one.probes == 0]
    if not owners:
        return []
    ours = (tally.c.workflow_id.in_(owners), tally.c.type == JobType.PROCESSING)
    waiting = tally.c.state.in_((JobState.RELEASED, JobState.PENDING))
    places = heads.standings(connection, counters.JOB, *ours, waiting)
    return heads.ids(connection, counters.JOB, [(each.place, most) for each in places], most)


def released(tx: Tx, workflow_ids: Iterable[int], probes: int) -> None:
    """An operator released workflows: of those that were braked so many probes run first, counted from now on."""
    braked = load(tx.connection)
    for workflow_id in workflow_ids:
        if workflow_id in braked and braked[workflow_id].probes == 0:
            _count_from_now(tx, workflow_id, probes, "released by an operator")


def probing(tx: Tx, rules: BrakeRules) -> dict[int, int]:
    """Return how many jobs may go now of each workflow that runs probes; those whose probes went well are freed."""
    room = {}
    for workflow_id, braked in load(tx.connection).items():
        if braked.probes <= 0:
            continue
        if passed(record(tx.connection, workflow_id, braked), rules):
            free(tx, workflow_id)
        else:
            done = max(0, succeeded(tx.connection, workflow_id) - braked.succeeded)
            room[workflow_id] = max(0, braked.probes - done - under_way(tx.connection, workflow_id))
    return room


def free(tx: Tx, workflow_id: int) -> None:
    """The probes went well: all its jobs may go, and its counts start anew."""
    _count_from_now(tx, workflow_id, FREE, "its probes went well")
    alerts.close_alert(tx, "workflow-broken", _name(tx, workflow_id))


def _count_from_now(tx: Tx, workflow_id: int, probes: int, reason: str) -> None:
    now = record(tx.connection, workflow_id, None)
    values = {"failed": now.failed, "succeeded": now.succeeded, "probes": probes, "at": tx.now, "reason": reason[:500]}
    tx.connection.execute(brake.delete().where(brake.c.workflow_id == workflow_id))
    tx.connection.execute(brake.insert().values(workflow_id=workflow_id, **values))


def _name(tx: Tx, workflow_id: int) -> str:
    return str(tx.connection.execute(sa.select(workflow.c.name).where(workflow.c.id == workflow_id)).scalar_one())


def under_way(connection: Connection, workflow_id: int) -> int:
    """Return how many processing jobs of a workflow are released and not over."""
    held = (JobState.RELEASED, JobState.SUBMITTING, JobState.PENDING, JobState.RUNNING, JobState.ENDED, JobState.LOST)
    ours = (tally.c.workflow_id == workflow_id, tally.c.type == JobType.PROCESSING)
    return counters.items(connection, counters.JOB, held, *ours)

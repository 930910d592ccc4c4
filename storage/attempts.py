"""Attempts: one row per submission; every count of retries is derived from them (PA-020)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.exit_codes import classify
from domain.job import JOB_TABLE, JobState, JobType
from storage import schema
from storage.engine import among
from storage.jobs import next_id
from storage.moves import move
from storage.transaction import Tx

attempt, job = schema.attempt, schema.job


class Attempt(NamedTuple):
    """The live attempt of a job."""

    id: int
    job_id: int
    number: int
    token: str
    target: str
    batch_id: str
    exit_code: int | None
    created_at: float
    submitted_at: float | None


class Seen(NamedTuple):
    """What the batch system says of a token; times in UTC epoch seconds of the node."""

    token: str
    batch_id: str = ""
    node: str = ""
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None


class Failure(NamedTuple):
    """Why an attempt did no good."""

    job_id: int
    code: int
    text: str
    log: str = ""


def intend(tx: Tx, job_ids: list[int], site: str, target: str, tokens: Mapping[int, str]) -> list[Attempt]:
    """Put attempts with their tokens on record, before the batch system is called; return those made."""
    moved = move(tx, job, JOB_TABLE, e.JobsSubmitting(ids=job_ids))
    if not moved:
        return []
    query = sa.select(attempt.c.job_id, sa.func.max(attempt.c.number)).where(among(attempt.c.job_id, moved))
    numbers = {owner: int(number) for owner, number in tx.connection.execute(query.group_by(attempt.c.job_id))}
    first = next_id(tx.connection, attempt)
    made = [
        Attempt(first + n, owner, numbers.get(owner, 0) + 1, tokens[owner], target, "", None, tx.now, None)
        for n, owner in enumerate(moved)
    ]
    rows = [
        {
            "id": new.id,
            "job_id": new.job_id,
            "number": new.number,
            "token": new.token,
            "live": 1,
            "site": site,
            "target": target,
            "created_at": tx.now,
        }
        for new in made
    ]
    tx.connection.execute(attempt.insert(), rows)
    return made


def live(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, Attempt]:
    """Return the live attempts by job."""
    query = sa.select(*(attempt.c[name] for name in Attempt._fields)).where(
        among(attempt.c.job_id, list(job_ids)), attempt.c.live == 1
    )
    return {row.job_id: Attempt(*row) for row in connection.execute(query)}


def live_at(connection: sa.Connection, target: str) -> dict[str, tuple[int, JobState]]:
    """Return job and state of every live attempt at a target, by token."""
    query = (
        sa.select(attempt.c.token, job.c.id, job.c.state)
        .join(job, job.c.id == attempt.c.job_id)
        .where(attempt.c.target == target, attempt.c.live == 1)
    )
    return {token: (owner, JobState(state)) for token, owner, state in connection.execute(query)}


def codes(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, tuple[JobType, list[int]]]:
    """Return type and exit codes of the failed attempts of each job, oldest first."""
    query = (
        sa.select(attempt.c.job_id, job.c.type, attempt.c.exit_code)
        .join(job, job.c.id == attempt.c.job_id)
        .where(among(attempt.c.job_id, list(job_ids)), attempt.c.outcome.in_(("failed", "lost")))
        .order_by(attempt.c.job_id, attempt.c.number)
    )
    found: dict[int, tuple[JobType, list[int]]] = {}
    for owner, kind, code in connection.execute(query):
        found.setdefault(owner, (JobType(kind), []))[1].append(code)
    return found


def submitted(tx: Tx, accepted: Mapping[int, str]) -> None:
    """The batch system has these jobs (job id -> its own id for the attempt)."""
    move(tx, job, JOB_TABLE, e.JobsSubmitted(ids=list(accepted)))  # one that was seen running already stays so
    if accepted:
        where = (attempt.c.job_id == sa.bindparam("owner"), attempt.c.live == 1)
        change = attempt.update().where(*where).values(batch_id=sa.bindparam("batch"), submitted_at=tx.now)
        tx.connection.execute(change, [{"owner": owner, "batch": batch} for owner, batch in accepted.items()])


def started(tx: Tx, seen: Mapping[int, Seen]) -> None:
    """These jobs run."""
    ids = move(tx, job, JOB_TABLE, e.JobsStarted(ids=list(seen)))
    _note(tx, ids, seen)


def ended(tx: Tx, seen: Mapping[int, Seen]) -> None:
    """There is proof that these attempts are over."""
    ids = move(tx, job, JOB_TABLE, e.JobsEnded(ids=list(seen)))
    _note(tx, ids, seen)


def lost(tx: Tx, job_ids: list[int], reason: str) -> None:
    """Absent from the batch system without proof of an end."""
    move(tx, job, JOB_TABLE, e.JobsLost(ids=job_ids, reason=reason))


def _note(tx: Tx, ids: Sequence[int], seen: Mapping[int, Seen]) -> None:
    if not ids:
        return
    where = (attempt.c.job_id == sa.bindparam("owner"), attempt.c.live == 1)
    change = attempt.update().where(*where)
    tx.connection.execute(
        change.values(
            node=sa.bindparam("on_node"),
            exit_code=sa.bindparam("code"),
            started_at=sa.bindparam("start"),
            ended_at=sa.bindparam("end"),
        ),
        [
            {
                "owner": owner,
                "on_node": seen[owner].node,
                "code": seen[owner].exit_code,
                "start": seen[owner].started_at,
                "end": seen[owner].ended_at,
            }
            for owner in ids
        ],
    )


def fail(tx: Tx, failures: Sequence[Failure], *, outcome: str = "failed", reason: str = "") -> list[int]:
    """Close attempts as failures and move their jobs to failed; return the jobs that were moved."""
    by_job = {failure.job_id: failure for failure in failures}
    moved = move(tx, job, JOB_TABLE, e.JobsFailed(ids=list(by_job), reason=reason))
    rows = [
        {
            "owner": owner,
            "code": found.code,
            "by": classify(found.code).blame,
            "why": found.text[:500],
            "tail": found.log or None,
        }
        for owner, found in by_job.items()
        if owner in set(moved)
    ]
    if rows:
        where = (attempt.c.job_id == sa.bindparam("owner"), attempt.c.live == 1)
        change = attempt.update().where(*where)
        tx.connection.execute(
            change.values(
                live=None,
                outcome=outcome,
                exit_code=sa.bindparam("code"),
                blame=sa.bindparam("by"),
                cause=sa.bindparam("why"),
                log=sa.bindparam("tail"),
                closed_at=tx.now,
            ),
            rows,
        )
    return moved


def to_clean(connection: sa.Connection, target: str, limit: int) -> list[str]:
    """Return tokens of attempts that have ended and are accounted, whose directories are still at the target."""
    return _left_behind(connection, target, limit, attempt.c.outcome != "killed")


def killed(connection: sa.Connection, target: str, limit: int) -> list[str]:
    """Return tokens of attempts that were ended on command and may still be at the target."""
    return _left_behind(connection, target, limit, attempt.c.outcome == "killed")


def _left_behind(connection: sa.Connection, target: str, limit: int, which: sa.ColumnElement[bool]) -> list[str]:
    where = (attempt.c.target == target, attempt.c.live.is_(None), attempt.c.cleaned.is_(None), which)
    return list(connection.execute(sa.select(attempt.c.token).where(*where).limit(limit)).scalars())


def cleaned(tx: Tx, tokens: Sequence[str]) -> None:
    tx.connection.execute(attempt.update().where(attempt.c.token.in_(list(tokens))).values(cleaned=1))

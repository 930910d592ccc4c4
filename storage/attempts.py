"""Attempts: one row per submission; every count of retries is derived from them (PA-020)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.exit_codes import classify
from domain.job import JOB_TABLE, JobState, JobType
from storage import bulk, schema
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
    bulk.insert(tx.connection, attempt, rows)
    return made


def live(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, Attempt]:
    """Return the live attempts by job."""
    query = sa.select(*(attempt.c[name] for name in Attempt._fields)).where(
        among(attempt.c.job_id, list(job_ids)), attempt.c.live == 1
    )
    return {row.job_id: Attempt(*row) for row in connection.execute(query)}


def live_at(
    connection: sa.Connection, target: str, tokens: Sequence[str] | None = None
) -> dict[str, tuple[int, JobState]]:
    """Return job and state of the live attempts at a target, by token: of all, or of those named."""
    query = (
        sa.select(attempt.c.token, job.c.id, job.c.state)
        .join(job, job.c.id == attempt.c.job_id)
        .where(attempt.c.target == target, attempt.c.live == 1)
    )
    if tokens is not None:
        query = query.where(attempt.c.token.in_(tokens))
    return {token: (owner, JobState(state)) for token, owner, state in connection.execute(query)}


def codes(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, tuple[JobType, list[int]]]:
    """Return type and exit codes of the failed attempts of each job, oldest first."""
    query = (
        sa.select(attempt.c.job_id, job.c.type, attempt.c.exit_code)
        .join(job, job.c.id == attempt.c.job_id)
        .where(among(attempt.c.job_id, list(job_ids)), attempt.c.outcome.in_(("failed", "lost", "void")))
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
        rows = [{"owner": owner, "batch_id": batch, "submitted_at": tx.now} for owner, batch in accepted.items()]
        bulk.update_live(tx.connection, ("batch_id", "submitted_at"), rows)


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


_NOTED = ("node", "exit_code", "started_at", "ended_at")


def _note(tx: Tx, ids: Sequence[int], seen: Mapping[int, Seen]) -> None:
    rows = [{"owner": owner, **{name: getattr(seen[owner], name) for name in _NOTED}} for owner in ids]
    bulk.update_live(tx.connection, _NOTED, rows)


def fail(tx: Tx, failures: Sequence[Failure], *, outcome: str = "failed", reason: str = "") -> list[int]:
    """Close attempts as failures and move their jobs to failed; return the jobs that were moved."""
    by_job = {failure.job_id: failure for failure in failures}
    moved = move(tx, job, JOB_TABLE, e.JobsFailed(ids=list(by_job), reason=reason))
    closing = {"live": None, "outcome": outcome, "closed_at": tx.now}
    rows = [
        {
            "owner": owner,
            **closing,
            "exit_code": by_job[owner].code,
            "blame": classify(by_job[owner].code).blame,
            "cause": by_job[owner].text[:500],
            "log": by_job[owner].log or None,
        }
        for owner in moved
    ]
    bulk.update_live(tx.connection, (*closing, "exit_code", "blame", "cause", "log"), rows)
    return moved


class LeftBehind(NamedTuple):
    """Tokens of closed attempts that may have left something at a target: ended on command, or by themselves."""

    killed: list[str]
    ended: list[str]


def left_behind(connection: sa.Connection, target: str, limit: int) -> LeftBehind:
    """Return at most `limit` of them in all."""
    where = (attempt.c.target == target, attempt.c.live.is_(None), attempt.c.cleaned.is_(None))
    found = LeftBehind([], [])
    for token, outcome in connection.execute(sa.select(attempt.c.token, attempt.c.outcome).where(*where).limit(limit)):
        (found.killed if outcome == "killed" else found.ended).append(token)
    return found


def cleaned(tx: Tx, tokens: Sequence[str]) -> None:
    tx.connection.execute(attempt.update().where(attempt.c.token.in_(list(tokens))).values(cleaned=1))

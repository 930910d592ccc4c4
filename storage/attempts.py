"""Attempts: one row per submission; every count of retries is derived from them (PA-020)."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.job import JOB_TABLE, JobState, JobType
from domain.retry import Tried
from domain.rules import Evidence, Rule
from storage import barriers, breakers, bulk, causes, counters, rulebook, schema
from storage.barriers import MAY_RUN
from storage.engine import among, among_words
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


class Intent(NamedTuple):
    """Jobs that are to be submitted at a target, with the token of each."""

    site: str
    target: str
    tokens: Mapping[int, str]


class Seen(NamedTuple):
    """What the batch system says of a token, `said` in its own word for the end; times in UTC epoch seconds of the node."""

    token: str
    batch_id: str = ""
    node: str = ""
    exit_code: int | None = None
    started_at: float | None = None
    ended_at: float | None = None
    said: str | None = None


class Failure(NamedTuple):
    """Why an attempt did no good."""

    job_id: int
    code: int
    text: str
    log: str = ""


_NUMBERS = (
    sa.select(job.c.id, job.c.target, sa.func.coalesce(sa.func.max(attempt.c.number), 0))
    .outerjoin(attempt, attempt.c.job_id == job.c.id)
    .where(among(job.c.id))
    .group_by(job.c.id, job.c.target)
)
_LIVE = sa.select(*(attempt.c[name] for name in Attempt._fields)).where(among(attempt.c.job_id), attempt.c.live == 1)
_LIVE_AT = (
    sa.select(attempt.c.token, job.c.id, job.c.state)
    .join(job, job.c.id == attempt.c.job_id)
    .where(attempt.c.target == sa.bindparam("at"), attempt.c.live == 1)
)
_LIVE_NAMED = _LIVE_AT.where(among_words(attempt.c.token))


def intend(tx: Tx, job_ids: list[int], site: str, target: str, tokens: Mapping[int, str]) -> list[Attempt]:
    """Put attempts with their tokens on record, before the batch system is called; return those made."""
    return intend_all(tx, [Intent(site, target, {owner: tokens[owner] for owner in job_ids})])[0]


def intend_all(tx: Tx, intents: Sequence[Intent]) -> list[list[Attempt]]:
    """The same for several targets; a job that has meanwhile been given to another target than its intent's stays there."""
    wanted = {(intent.target, owner): n for n, intent in enumerate(intents) for owner in intent.tokens}
    every = [owner for _, owner in wanted]
    found = {
        owner: (wanted[target, owner], int(number))
        for owner, target, number in tx.connection.execute(_NUMBERS, {"ids": every})
        if (target, owner) in wanted
    }
    moved = move(tx, job, JOB_TABLE, e.JobsSubmitting(ids=list(found)))
    made: list[list[Attempt]] = [[] for _ in intents]
    rows = []
    for identity, owner in enumerate(moved, start=next_id(tx.connection, attempt)):
        n, number = found[owner]
        intent = intents[n]
        new = Attempt(identity, owner, number + 1, intent.tokens[owner], intent.target, "", None, tx.now, None)
        made[n].append(new)
        named = {name: getattr(new, name) for name in ("id", "job_id", "number", "token", "target", "created_at")}
        rows.append(named | {"live": 1, "site": intent.site})
    bulk.insert(tx.connection, attempt, rows)
    counters.begun(tx, [(row["site"], row["target"]) for row in rows])
    return made


def live(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, Attempt]:
    """Return the live attempts by job."""
    return {row.job_id: Attempt(*row) for row in connection.execute(_LIVE, {"ids": list(job_ids)})}


def live_at(
    connection: sa.Connection, target: str, tokens: Sequence[str] | None = None
) -> dict[str, tuple[int, JobState]]:
    """Return job and state of the live attempts at a target, by token: of all, or of those named."""
    states = {state.value: state for state in JobState}  # looked up: to make 100,000 of them took 0.1 s
    query, given = (_LIVE_AT, {"at": target}) if tokens is None else (_LIVE_NAMED, {"at": target, "words": tokens})
    return {token: (owner, states[state]) for token, owner, state in connection.execute(query, given)}


_NAMES = ("job_id", "exit_code", "rule", "site", "node", "started_at", "ended_at", "closed_at", "cause", "target")
_TRIED = (
    sa.select(*(attempt.c[name] for name in _NAMES))
    .where(among(attempt.c.job_id), attempt.c.outcome.in_(("failed", "lost", "void")))
    .order_by(attempt.c.job_id, attempt.c.number)
)
_SAID = (
    sa.select(attempt.c.job_id, attempt.c.said, job.c.type)
    .join(job, job.c.id == attempt.c.job_id)
    .where(among(attempt.c.job_id), attempt.c.live == 1)
)


def tried(connection: sa.Connection, job_ids: Iterable[int]) -> dict[int, list[Tried]]:
    """Return the failed attempts of each job with the rules that they came under, oldest first."""
    book = rulebook.current(connection)
    found: dict[int, list[Tried]] = {}
    for row in connection.execute(_TRIED, {"ids": list(job_ids)}):
        ran_s = row.ended_at - row.started_at if row.ended_at and row.started_at else None
        rule = book.named(row.rule, row.exit_code)
        where, closed_at = (row.site, row.node), row.closed_at or 0.0
        one = Tried(row.exit_code or 0, rule, *where, ran_s, closed_at, row.cause or "", row.target)
        found.setdefault(row.job_id, []).append(one)
    return found


def submitted(tx: Tx, accepted: Mapping[int, str]) -> None:
    """The batch system has these jobs (job id -> its own id for the attempt)."""
    move(tx, job, JOB_TABLE, e.JobsSubmitted(ids=list(accepted)))  # one that was seen running already stays so
    if accepted:
        rows = [{"owner": owner, "batch_id": batch, "submitted_at": tx.now} for owner, batch in accepted.items()]
        bulk.update_live(tx.connection, ("batch_id", "submitted_at"), rows)


def returned(tx: Tx, job_ids: list[int]) -> None:
    """These were absent, and the batch system lists them again as waiting."""
    move(tx, job, JOB_TABLE, e.JobsSubmitted(ids=job_ids))


def waits(tx: Tx, reasons: Mapping[int, str]) -> None:
    """Note why jobs wait in the batch system (job id -> its own word)."""
    by_reason: dict[str, list[int]] = {}
    for owner, reason in reasons.items():
        by_reason.setdefault(reason[:500], []).append(owner)
    for reason, ids in by_reason.items():
        where = (among(job.c.id, ids), job.c.state == JobState.PENDING)
        tx.connection.execute(job.update().where(*where).values(reason=reason))


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


_NOTED = ("node", "exit_code", "started_at", "ended_at", "said")


def _note(tx: Tx, ids: Sequence[int], seen: Mapping[int, Seen]) -> None:
    rows = [{"owner": owner, **{name: getattr(seen[owner], name) for name in _NOTED}} for owner in ids]
    bulk.update_live(tx.connection, _NOTED, rows)


def fail(tx: Tx, failures: Sequence[Failure], *, outcome: str = "failed", reason: str = "") -> list[int]:
    """Close attempts as failures and move their jobs to failed; return the jobs that were moved."""
    by_job = {failure.job_id: failure for failure in failures}
    moved = move(tx, job, JOB_TABLE, e.JobsFailed(ids=list(by_job), reason=reason))
    if not moved:
        return []
    rules = _classified(tx.connection, [by_job[owner] for owner in moved])
    causes.note(tx, outcome, {owner: (by_job[owner].code, by_job[owner].text, rules[owner]) for owner in moved})
    breakers.note(tx, {owner: rules[owner].blame for owner in moved})
    closing = {"live": None, "outcome": outcome, "closed_at": tx.now}
    rows = [
        {
            "owner": owner,
            **closing,
            "exit_code": by_job[owner].code,
            "blame": rules[owner].blame,
            "rule": rules[owner].name,
            "cause": by_job[owner].text[:500],
            "log": by_job[owner].log or None,
        }
        for owner in moved
    ]
    bulk.update_live(tx.connection, (*closing, "exit_code", "blame", "rule", "cause", "log"), rows)
    return moved


def _classified(connection: sa.Connection, failures: Sequence[Failure]) -> dict[int, Rule]:
    """Return the rule that each failure comes under, by job."""
    book = rulebook.current(connection)
    ids = [failure.job_id for failure in failures]
    seen = {row.job_id: row for row in connection.execute(_SAID, {"ids": ids})}
    rules = {}
    for failure in failures:
        row = seen.get(failure.job_id)
        said, kind = (row.said or "", JobType(row.type)) if row is not None else ("", JobType.PROCESSING)
        rules[failure.job_id] = book.classify(Evidence(failure.code, failure.text, failure.log, said, kind))
    return rules


def closed(connection: sa.Connection, tokens: Sequence[str]) -> list[str]:
    """Return which of the tokens are of attempts that are over for us."""
    query = sa.select(attempt.c.token).where(attempt.c.token.in_(list(tokens)), attempt.c.live.is_(None))
    return list(connection.execute(query).scalars())


class Waiting(NamedTuple):
    """A job at a target and the token of its attempt; since when it is in its state (UTC epoch seconds)."""

    job: int
    workflow_id: int
    type: JobType
    state: JobState
    since: float
    token: str


def long_at(connection: sa.Connection, target: str, state: JobState, before: float, limit: int = 1000) -> list[Waiting]:
    """Return jobs that have been in this state at a target since before a time (UTC epoch seconds)."""
    columns = (job.c.id, job.c.workflow_id, job.c.type, job.c.state, job.c.since, attempt.c.token)
    query = sa.select(*columns).join(attempt, attempt.c.job_id == job.c.id).where(attempt.c.live == 1)
    query = query.where(job.c.target == target, job.c.state == state, job.c.since <= before).limit(limit)
    return [
        Waiting(row.id, row.workflow_id, JobType(row.type), JobState(row.state), row.since, row.token)
        for row in connection.execute(query)
    ]


def outcomes(connection: sa.Connection) -> dict[str, dict[str, int]]:
    """Return how many closed attempts each target has by outcome."""
    found: dict[str, dict[str, int]] = {}
    for row in counters.sums(connection, counters.ATTEMPT, ("target", "state"), schema.tally.c.state != counters.LIVE):
        found.setdefault(row.target, {})[row.state] = int(row.number)
    return found


class LeftBehind(NamedTuple):
    """Tokens of closed attempts that may have left something at a target: such as may still run there, and such as do not."""

    killed: list[str]
    ended: list[str]


UNUSED = ("failed", *MAY_RUN)
"""Outcomes of attempts whose output counts for nothing and lies in a storage perhaps."""
OUTPUT_LEFT = 0
"""Value of `cleaned`: nothing is left at the target, something may be in the storage."""


def left_behind(connection: sa.Connection, target: str, limit: int, participants: Sequence[str] = ()) -> LeftBehind:
    """Return at most `limit` of them in all; none that a participant of the barrier has still to look at."""
    found = LeftBehind([], [])
    for token, outcome in connection.execute(_left(tuple(participants)), {"at": target, "most": limit}):
        (found.killed if outcome in MAY_RUN else found.ended).append(token)
    return found


def held_back(connection: sa.Connection, target: str, limit: int, participants: Sequence[str]) -> list[str]:
    """Return tokens of the newest failed attempts whose directories stay for a participant that has still to look at them."""
    if not participants:
        return []
    return list(connection.execute(_held_back(tuple(participants)), {"at": target, "most": limit}).scalars())


@cache
def _held_back(participants: tuple[str, ...]) -> sa.Select[Any]:
    where = (attempt.c.target == sa.bindparam("at"), attempt.c.live.is_(None), attempt.c.cleaned.is_(None))
    waits = (attempt.c.outcome == "failed", ~sa.and_(*barriers.passed(participants)))
    return sa.select(attempt.c.token).where(*where, *waits).order_by(attempt.c.id.desc()).limit(sa.bindparam("most"))


@cache
def _left(participants: tuple[str, ...]) -> sa.Select[Any]:
    where = (attempt.c.target == sa.bindparam("at"), attempt.c.live.is_(None), attempt.c.cleaned.is_(None))
    query = sa.select(attempt.c.token, attempt.c.outcome).where(*where, *barriers.passed(participants))
    return query.limit(sa.bindparam("most"))


_RESTORED_AT = sa.select(sa.func.coalesce(sa.func.max(schema.restoration.c.at), 0.0)).scalar_subquery()
_BEFORE_A_RESTORE = attempt.c.created_at <= _RESTORED_AT
"""Such an attempt may have done since the snapshot what these books never heard of, also one that they only meant to submit."""
_CLEANED = (
    attempt.update()
    .where(among_words(attempt.c.token))
    .values(
        cleaned=sa.case(
            (
                sa.or_(attempt.c.outcome.in_(UNUSED), sa.and_(attempt.c.outcome == "void", _BEFORE_A_RESTORE)),
                OUTPUT_LEFT,
            ),
            else_=1,
        )
    )
)


def cleaned(tx: Tx, tokens: Sequence[str]) -> None:
    """Nothing is left of these attempts at their target."""
    tx.connection.execute(_CLEANED, {"words": tokens})
    barriers.lower(tx, tokens)


class Unused(NamedTuple):
    """A closed attempt whose output, if it wrote one, counts for nothing.

    `anywhere`: it was on record in a snapshot that was restored, so that its output may have been delivered before it was lost.
    """

    id: int
    job_id: int
    token: str
    site: str
    type: JobType
    workflow_id: int
    anywhere: bool


_TARGETS = counters.summing(counters.ATTEMPT, ("target",))
_UNUSED = (
    sa.select(
        attempt.c.id,
        attempt.c.job_id,
        attempt.c.token,
        attempt.c.site,
        job.c.type,
        job.c.workflow_id,
        _BEFORE_A_RESTORE.label("anywhere"),
    )
    .join(job, job.c.id == attempt.c.job_id)
    .where(among_words(attempt.c.target), attempt.c.live.is_(None), attempt.c.cleaned == OUTPUT_LEFT)
    .limit(sa.bindparam("most"))
)


def unused(connection: sa.Connection, limit: int) -> list[Unused]:
    """Return closed attempts whose output is to be removed from storage."""
    targets = [row.target for row in connection.execute(_TARGETS)]
    rows = connection.execute(_UNUSED, {"words": targets, "most": limit})
    return [
        Unused(row.id, row.job_id, row.token, row.site, JobType(row.type), row.workflow_id, bool(row.anywhere))
        for row in rows
    ]


def forgotten(tx: Tx, ids: list[int]) -> None:
    """Nothing is left of these attempts anywhere."""
    tx.connection.execute(attempt.update().where(among(attempt.c.id, ids)).values(cleaned=1))

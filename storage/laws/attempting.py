"""Laws 2, 3, 10: one live attempt, one token each, and nothing from an attempt that was fenced."""

from collections.abc import Iterator

import sqlalchemy as sa

from domain.job import AT_TARGET, JobState
from storage import schema
from storage.laws.breach import Finding, Scope, none_as_0, number

attempt, file, job = schema.attempt, schema.file, schema.job

HELD = (*AT_TARGET, JobState.ENDED, JobState.LOST)
"""States that are those of an attempt."""

BOOKED = (JobState.ACCOUNTED, JobState.SUCCESS, JobState.CLEANED)
"""States in which a job's output is registered."""


def one_live(scope: Scope) -> Iterator[Finding]:
    """Find jobs with another number of live attempts than their state says, or a live one that is not the newest."""
    newest_live = sa.func.max(sa.case((attempt.c.live.is_not(None), attempt.c.number)))
    counts = sa.select(
        attempt.c.job_id,
        sa.func.count(attempt.c.live).label("live"),
        sa.func.max(attempt.c.number).label("last"),
        newest_live.label("newest_live"),
    )
    per_job = counts.group_by(attempt.c.job_id).subquery()
    live = none_as_0(per_job.c.live)
    wrong = sa.or_(live != number(job.c.state.in_(HELD)), per_job.c.newest_live < per_job.c.last)
    query = sa.select(job.c.id, job.c.state, live, per_job.c.newest_live, per_job.c.last).outerjoin(
        per_job, per_job.c.job_id == job.c.id
    )
    for identity, state, count, newest, last in scope.rows(query.where(wrong)):
        expected = int(state in HELD)
        text = f"is {state} with {count} live attempts, expected {expected}"
        yield Finding(
            f"job {identity}", text if count != expected else f"attempt {newest} is live though {last} came after it"
        )


def one_token(scope: Scope) -> Iterator[Finding]:
    """Find tokens that stand twice, attempts that were skipped or neither open nor closed."""
    doubles = sa.select(attempt.c.token, sa.func.count()).group_by(attempt.c.token).having(sa.func.count() > 1)
    for token, count in scope.rows(doubles):
        yield Finding(f"token {token}", f"stands for {count} attempts")
    numbers = sa.select(attempt.c.job_id, sa.func.count(), sa.func.max(attempt.c.number)).group_by(attempt.c.job_id)
    skipped = sa.or_(
        sa.func.count() != sa.func.max(attempt.c.number), sa.func.count(attempt.c.number.distinct()) != sa.func.count()
    )
    for identity, count, last in scope.rows(numbers.having(skipped)):
        yield Finding(f"job {identity}", f"has {count} attempts, the last has number {last}")
    torn = sa.select(attempt.c.id, attempt.c.live, attempt.c.outcome).where(
        attempt.c.live.is_(None) == attempt.c.outcome.is_(None)
    )
    for identity, live, outcome in scope.rows(torn):
        text = f"is live and has the outcome {outcome!r}" if live else "is over and has no outcome"
        yield Finding(f"attempt {identity}", text)


def fenced(scope: Scope) -> Iterator[Finding]:
    """Find jobs with more or fewer files than successful attempts, or booked by an attempt that was not the last."""
    good = attempt.c.outcome == "success"
    attempts = sa.select(
        attempt.c.job_id,
        sa.func.sum(number(good)).label("good"),
        sa.func.max(attempt.c.number).label("last"),
        sa.func.max(sa.case((good, attempt.c.number))).label("last_good"),
    )
    per_job = attempts.group_by(attempt.c.job_id).subquery()
    outputs = sa.select(file.c.job_id, sa.func.count().label("files")).group_by(file.c.job_id).subquery()
    files, successes = none_as_0(outputs.c.files), none_as_0(per_job.c.good)
    late = sa.and_(job.c.state.in_(BOOKED), none_as_0(per_job.c.last_good) != none_as_0(per_job.c.last))
    query = (
        sa.select(job.c.id, files, successes, per_job.c.last_good, per_job.c.last)
        .outerjoin(per_job, per_job.c.job_id == job.c.id)
        .outerjoin(outputs, outputs.c.job_id == job.c.id)
        .where(sa.or_(files != successes, late))
    )
    for identity, count, wins, booked, last in scope.rows(query):
        text = f"has {count} files registered from {wins} successful attempts"
        yield Finding(
            f"job {identity}", text if count != wins else f"is booked by attempt {booked} though {last} came after it"
        )

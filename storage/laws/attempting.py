"""Laws 2, 3, 10: one live attempt, one token each, and nothing from an attempt that was fenced."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from domain.job import AT_TARGET, JobState
from storage import schema
from storage.laws.breach import MANY, Finding, Scope, none_as_0, number, those

attempt, file, job = schema.attempt, schema.file, schema.job

HELD = (*AT_TARGET, JobState.ENDED, JobState.LOST)
"""States that are those of an attempt."""

BOOKED = (JobState.ACCOUNTED, JobState.SUCCESS, JobState.CLEANED)
"""States in which a job's output is registered."""


def one_live(scope: Scope) -> Iterator[Finding]:
    """Find jobs with another number of live attempts than their state says, or a live one that is not the newest."""
    held = job.c.state.in_(HELD)
    living, later = attempt.alias("living"), attempt.alias("later")
    mine = sa.and_(living.c.job_id == job.c.id, living.c.live.is_not(None))
    overtaken = sa.exists().where(later.c.job_id == living.c.job_id, later.c.number > living.c.number)
    suspects = those(
        sa.select(job.c.id).join(living, mine).where(~held),
        sa.select(job.c.id).where(held, ~sa.exists().where(mine)),
        sa.select(living.c.job_id).where(living.c.live.is_not(None), overtaken),
        sa.select(living.c.job_id).where(living.c.live.is_not(None)).group_by(living.c.job_id).having(MANY),
    )
    live = _of(sa.func.count(), living.c.job_id, living.c.live.is_not(None))
    newest_live = _of(sa.func.max(living.c.number), living.c.job_id, living.c.live.is_not(None))
    last = _of(sa.func.max(later.c.number), later.c.job_id)
    query = sa.select(job.c.id, job.c.state, live, newest_live, last).join(suspects, suspects.c.id == job.c.id)
    for identity, state, count, newest, final in scope.rows(
        query.where(sa.or_(live != number(held), newest_live < last))
    ):
        expected = int(state in HELD)
        text = f"is {state} with {count} live attempts, expected {expected}"
        yield Finding(
            f"job {identity}", text if count != expected else f"attempt {newest} is live though {final} came after it"
        )


def one_token(scope: Scope) -> Iterator[Finding]:
    """Find tokens that stand twice, attempts that were skipped or neither open nor closed."""
    doubles = sa.select(attempt.c.token, sa.func.count()).group_by(attempt.c.token).having(sa.func.count() > 1)
    for token, count in scope.rows(doubles):
        yield Finding(f"token {token}", f"stands for {count} attempts")
    before = attempt.alias("before")
    first = sa.exists().where(before.c.job_id == attempt.c.job_id, before.c.number == attempt.c.number - 1)
    suspects = those(
        sa.select(attempt.c.job_id).where(attempt.c.number != 1, ~first),
        sa.select(attempt.c.job_id).group_by(attempt.c.job_id, attempt.c.number).having(MANY),
    )
    numbers = sa.select(attempt.c.job_id, sa.func.count(), sa.func.max(attempt.c.number))
    skipped = sa.or_(
        sa.func.count() != sa.func.max(attempt.c.number), sa.func.count(attempt.c.number.distinct()) != sa.func.count()
    )
    wrong = numbers.join(suspects, suspects.c.id == attempt.c.job_id).group_by(attempt.c.job_id).having(skipped)
    for identity, count, last in scope.rows(wrong):
        yield Finding(f"job {identity}", f"has {count} attempts, the last has number {last}")
    torn = sa.select(attempt.c.id, attempt.c.live, attempt.c.outcome).where(
        attempt.c.live.is_(None) == attempt.c.outcome.is_(None)
    )
    for identity, live, outcome in scope.rows(torn):
        text = f"is live and has the outcome {outcome!r}" if live else "is over and has no outcome"
        yield Finding(f"attempt {identity}", text)


def fenced(scope: Scope) -> Iterator[Finding]:
    """Find jobs with more or fewer files than successful attempts, or booked by an attempt that was not the last."""
    one, other = attempt.alias("one"), attempt.alias("other")
    good, booked = one.c.outcome == "success", job.c.state.in_(BOOKED)
    bad = sa.or_(one.c.outcome.is_(None), one.c.outcome != "success")
    made, won = sa.exists().where(file.c.job_id == one.c.job_id), other.c.outcome == "success"
    earlier = sa.exists().where(other.c.job_id == one.c.job_id, other.c.number < one.c.number, won)
    later = sa.exists().where(other.c.job_id == one.c.job_id, other.c.number > one.c.number)
    suspects = those(
        sa.select(file.c.job_id).group_by(file.c.job_id).having(MANY),
        sa.select(file.c.job_id).where(~sa.exists().where(one.c.job_id == file.c.job_id)),
        sa.select(one.c.job_id).where(bad, made, ~sa.exists().where(other.c.job_id == one.c.job_id, won)),
        sa.select(one.c.job_id).where(good, ~made),
        sa.select(one.c.job_id).where(good, one.c.number != 1, earlier),
        sa.select(one.c.job_id).group_by(one.c.job_id, one.c.number).having(MANY),
        sa.select(job.c.id).join(one, one.c.job_id == job.c.id).where(bad, booked, ~later),
    )
    files = _of(sa.func.count(), file.c.job_id)
    successes = _of(sa.func.count(), one.c.job_id, good)
    last_good, last = _of(sa.func.max(one.c.number), one.c.job_id, good), _of(sa.func.max(one.c.number), one.c.job_id)
    late = sa.and_(booked, none_as_0(last_good) != none_as_0(last))
    query = sa.select(job.c.id, files, successes, last_good, last).join(suspects, suspects.c.id == job.c.id)
    for identity, count, wins, number_booked, newest in scope.rows(query.where(sa.or_(files != successes, late))):
        text = f"has {count} files registered from {wins} successful attempts"
        late_text = f"is booked by attempt {number_booked} though {newest} came after it"
        yield Finding(f"job {identity}", text if count != wins else late_text)


def _of(what: sa.ColumnElement[Any], owner: sa.Column[Any], *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[Any]:
    """Return a sum over the rows of one job."""
    return sa.select(what).where(owner == job.c.id, *where).correlate(job).scalar_subquery()

"""Laws 5 and 6: an unmerged file is in at most one live merge, and no event is lost or made there."""

from collections.abc import Iterator

import sqlalchemy as sa

from domain.file import FileState
from domain.job import AT_TARGET, JobState, JobType
from storage import schema
from storage.laws.attempting import BOOKED
from storage.laws.breach import MANY, Finding, Scope, none_as_0, those
from storage.laws.outputs import GOING

file, job, merge_input = schema.file, schema.job, schema.merge_input

STARTED = (JobState.NEW, JobState.QUEUED, JobState.RELEASED, *AT_TARGET, JobState.ENDED, *BOOKED)
"""States in which a merge job has members."""

WHOLE = (FileState.UNMERGED, FileState.INVALID, FileState.REGISTERED, FileState.CATALOGUED)
"""States of a file that no live merge takes."""


def one_merge(scope: Scope) -> Iterator[Finding]:
    """Find files in more or fewer live merges than their state says, and merges that go on with no members."""
    state, booked = file.c.state, job.c.state.in_(BOOKED)
    mine = sa.and_(merge_input.c.file_id == file.c.id, merge_input.c.live.is_not(None))
    in_state = sa.case(
        (state.in_((FileState.MERGED, *GOING)), ~booked), (state == FileState.UNDERMERGE, booked), else_=sa.true()
    )
    suspects = those(
        sa.select(file.c.id).join(merge_input, mine).join(job, job.c.id == merge_input.c.job_id).where(in_state),
        sa.select(file.c.id).where(state.in_((FileState.UNDERMERGE, FileState.MERGED)), ~sa.exists().where(mine)),
        sa.select(merge_input.c.file_id)
        .where(merge_input.c.live.is_not(None))
        .group_by(merge_input.c.file_id)
        .having(MANY),
    )
    all_live = sa.select(sa.func.count()).where(mine)
    live = all_live.correlate(file).scalar_subquery()
    done = all_live.join(job, job.c.id == merge_input.c.job_id).where(booked).correlate(file).scalar_subquery()
    wrong = sa.or_(
        live > 1,
        sa.and_(state == FileState.UNDERMERGE, sa.or_(live != 1, done != 0)),
        sa.and_(state == FileState.MERGED, sa.or_(live != 1, done != 1)),
        sa.and_(state.in_(WHOLE), live != 0),
        sa.and_(state.in_(GOING), live == 1, done != 1),
    )
    query = sa.select(file.c.id, state, live, done).join(suspects, suspects.c.id == file.c.id).where(wrong)
    for identity, word, count, over in scope.rows(query):
        yield Finding(f"file {identity}", f"is {word} in {count} live merges, {over} of them booked")
    member = sa.exists().where(merge_input.c.job_id == job.c.id, merge_input.c.live.is_not(None))
    empty = sa.select(job.c.id, job.c.state).where(job.c.type == JobType.MERGE, job.c.state.in_(STARTED), ~member)
    for identity, word in scope.rows(empty):
        yield Finding(f"job {identity}", f"is a merge in state {word} with no members")


def balance(scope: Scope) -> Iterator[Finding]:
    """Find merges whose output has other events than their members, or whose members lie at another site."""
    small = file.alias("small")
    members = sa.select(
        merge_input.c.job_id,
        sa.func.sum(small.c.events).label("events"),
        sa.func.min(small.c.site).label("low"),
        sa.func.max(small.c.site).label("high"),
    )
    taken = (
        members.join(small, small.c.id == merge_input.c.file_id)
        .where(merge_input.c.live.is_not(None))
        .group_by(merge_input.c.job_id)
        .subquery()
    )
    outputs = (
        sa.select(file.c.job_id, sa.func.sum(file.c.events).label("events"))
        .where(file.c.state.in_((FileState.REGISTERED, FileState.CATALOGUED)))
        .group_by(file.c.job_id)
        .subquery()
    )
    query = (
        sa.select(job.c.id, job.c.state, job.c.events, taken.c.events, none_as_0(outputs.c.events))
        .join(taken, taken.c.job_id == job.c.id)
        .outerjoin(outputs, outputs.c.job_id == job.c.id)
    )
    wrong = sa.or_(
        job.c.events != taken.c.events,
        sa.and_(job.c.state.in_(BOOKED), none_as_0(outputs.c.events) != taken.c.events),
        job.c.pinned != taken.c.low,
        job.c.pinned != taken.c.high,
    )
    for identity, state, planned, into, out in scope.rows(query.where(wrong)):
        yield Finding(
            f"job {identity}",
            f"is a merge in state {state}: {planned} events planned, {into} in its members, {out} in its output",
        )

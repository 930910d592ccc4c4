"""Laws 4 and "exactly once": a file is registered if and only if its job is accounted, and catalogued at most once."""

from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from domain.file import FileKind, FileState
from domain.job import JobState, JobType
from storage import schema
from storage.laws.attempting import BOOKED
from storage.laws.breach import MANY, Finding, Scope, none_as_0, those

file, job, merge_input = schema.file, schema.job, schema.merge_input

GOING = (FileState.REMOVING, FileState.REMOVEFAILED, FileState.REMOVED)
"""States of a file that may go or is gone: one with a live merge had been merged, one without was invalid."""


def merged() -> sa.ColumnElement[bool]:
    """Whether a live merge took a file."""
    return sa.exists().where(merge_input.c.file_id == file.c.id, merge_input.c.live.is_not(None))


def sound() -> sa.ColumnElement[bool]:
    """Whether a file's events count: it is not invalid, and was not when it was removed."""
    return sa.and_(file.c.state != FileState.INVALID, sa.or_(file.c.state.not_in(GOING), merged()))


def accounted(scope: Scope) -> Iterator[Finding]:
    """Find jobs with another number of sound files than their state says: one if they are booked, otherwise none."""
    booked = job.c.state.in_(BOOKED)
    mine = file.c.job_id == job.c.id
    suspects = those(
        sa.select(job.c.id).join(file, mine).where(sa.case((booked, sa.false()), else_=sound())),
        sa.select(job.c.id).where(booked, ~sa.exists().where(mine)),
        sa.select(file.c.job_id).where(
            sa.or_(file.c.state == FileState.INVALID, sa.and_(file.c.state.in_(GOING), ~merged()))
        ),
        sa.select(file.c.job_id).group_by(file.c.job_id).having(MANY),
    )
    files = sa.select(sa.func.count()).where(mine, sound()).correlate(job).scalar_subquery()
    expected = sa.case((booked, 1), else_=0)
    query = sa.select(job.c.id, job.c.state, files, expected).join(suspects, suspects.c.id == job.c.id)
    for identity, state, count, wanted in scope.rows(query.where(files != expected)):
        yield Finding(f"job {identity}", f"is {state} with {count} registered files, expected {wanted}")
    wrong_kind = sa.and_(file.c.kind == FileKind.UNMERGED, job.c.type == JobType.MERGE)
    moved = sa.or_(file.c.workflow_id != job.c.workflow_id, wrong_kind)
    for identity, owner in scope.rows(sa.select(file.c.id, job.c.id).join(job, job.c.id == file.c.job_id).where(moved)):
        yield Finding(f"file {identity}", f"cannot be the output of job {owner}: other workflow or kind")


def catalogued_pieces() -> sa.CompoundSelect[Any]:
    """Return (job id, merged file id) once for each catalogued file that holds the events of a processing job."""
    small, big = file.alias("small"), file.alias("big")
    shown = (big.c.kind == FileKind.MERGED, big.c.state == FileState.CATALOGUED)
    direct = sa.select(big.c.job_id.label("job_id"), big.c.id.label("file_id")).join(job, job.c.id == big.c.job_id)
    merged = (
        sa.select(small.c.job_id, big.c.id)
        .select_from(big)
        .join(merge_input, merge_input.c.job_id == big.c.job_id)
        .join(small, small.c.id == merge_input.c.file_id)
    )
    return sa.union_all(
        direct.where(*shown, job.c.type == JobType.PROCESSING), merged.where(*shown, merge_input.c.live.is_not(None))
    )


def once(scope: Scope) -> Iterator[Finding]:
    """Find jobs whose events are in more or fewer catalogued files than their state says."""
    pieces = catalogued_pieces().subquery()
    per_job = sa.select(pieces.c.job_id, sa.func.count().label("files")).group_by(pieces.c.job_id).subquery()
    files = none_as_0(per_job.c.files)
    expected = sa.case((job.c.state.in_((JobState.SUCCESS, JobState.CLEANED)), 1), else_=0)
    query = sa.select(job.c.id, job.c.state, files).outerjoin(per_job, per_job.c.job_id == job.c.id)
    for identity, state, count in scope.rows(query.where(job.c.type == JobType.PROCESSING, files != expected)):
        yield Finding(f"job {identity}", f"is {state} and its events are in {count} catalogued files")

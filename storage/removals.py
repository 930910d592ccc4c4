"""Removals: what may go, decided in the transaction that grants it (PA-513)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.file import FILE_TABLE, FileKind, FileState
from domain.job import JOB_TABLE, JobState
from domain.transfer import TransferState
from storage import attempts, counters, heads, schema
from storage.engine import among, among_words
from storage.moves import move
from storage.transaction import Tx

file, job, attempt, merge_input, transfer, replica = (
    schema.file, schema.job, schema.attempt, schema.merge_input, schema.transfer, schema.replica,
)  # fmt: skip

_ARRIVED = (TransferState.SAFE, TransferState.RELEASABLE, TransferState.RELEASED, TransferState.CANCELLED)


AGAIN_S = 3600.0
"""A deletion that storage refused is granted anew after this, in seconds."""


class Removal(NamedTuple):
    """A granted deletion."""

    id: int
    lfn: str
    site: str
    tries: int


class Page(NamedTuple):
    """What was moved of a page of items, and where the next page begins: 0 = at the beginning again."""

    moved: list[int]
    after: int


_successor = file.alias("successor")
_EVIDENCE = sa.exists().where(
    merge_input.c.file_id == file.c.id,
    merge_input.c.live == 1,
    _successor.c.job_id == merge_input.c.job_id,
    _successor.c.kind == FileKind.MERGED,
    _successor.c.state == FileState.CATALOGUED,
    sa.exists().where(replica.c.file_id == _successor.c.id),
    ~sa.exists().where(transfer.c.file_id == _successor.c.id, transfer.c.state.not_in(_ARRIVED)),
)
_MAY_GO = (
    sa.select(file.c.id)
    .where(
        among(file.c.id),
        sa.or_(
            sa.and_(file.c.kind == FileKind.UNMERGED, file.c.state == FileState.MERGED, _EVIDENCE),
            file.c.state == FileState.INVALID,
            sa.and_(file.c.state == FileState.REMOVEFAILED, file.c.since <= sa.bindparam("refused_by")),
        ),
    )
    .order_by(file.c.id)
)


def grant(tx: Tx, limit: int, after: int = 0) -> Page:
    """Grant the deletion of unmerged files among the next `limit` that might go.

    A merged one may go when the file that holds its events is catalogued and every subscription to that file is served by
    a verified copy; an invalid one may go at once, its events are produced again. Those that may not go yet are not looked
    at again before all others were: however many wait for their delivery, a look costs the same.
    """
    states = (FileState.MERGED, FileState.INVALID, FileState.REMOVEFAILED)
    page = heads.oldest(tx.connection, counters.FILE, states, limit, after)
    given = {"ids": page, "refused_by": tx.now - AGAIN_S}
    ids = list(tx.connection.execute(_MAY_GO, given).scalars()) if page else []
    moved = move(tx, file, FILE_TABLE, e.FilesRemoving(ids=ids), tries=0) if ids else []
    return Page(moved, page[-1] if len(page) == limit else 0)


_GRANTED = (
    sa.select(file.c.id, file.c.lfn, file.c.site, file.c.tries)
    .where(file.c.state == FileState.REMOVING)
    .order_by(file.c.id)
    .limit(sa.bindparam("most"))
)


def granted(connection: sa.Connection, limit: int) -> list[Removal]:
    """Return deletions that are granted and not confirmed."""
    return [Removal(*row) for row in connection.execute(_GRANTED, {"most": limit})]


_FORGET_COPIES = replica.delete().where(among(replica.c.file_id))
_OWNERS = sa.select(file.c.job_id).where(among(file.c.id)).distinct()


def removed(tx: Tx, ids: list[int]) -> None:
    """They are gone; a job with nothing left anywhere is cleaned."""
    moved = move(tx, file, FILE_TABLE, e.FilesRemoved(ids=ids))
    tx.connection.execute(_FORGET_COPIES, {"ids": moved})
    _clean(tx, list(tx.connection.execute(_OWNERS, {"ids": moved}).scalars()))


class Answer(NamedTuple):
    """What the storage of a site said to deletions: done, or refused and why, to be tried so many times in all."""

    gone: Sequence[int]
    refused: Mapping[str, list[int]]
    tries: int


def answered_all(tx: Tx, answers: Sequence[Answer]) -> list[None]:
    """Book what the storage of several sites said."""
    removed(tx, [identity for answer in answers for identity in answer.gone])
    for answer in answers:
        for reason, ids in answer.refused.items():
            refused(tx, ids, answer.tries, reason)
    return [None] * len(answers)


def refused(tx: Tx, ids: list[int], tries: int, reason: str) -> None:
    """Storage would not delete them: tried again until `tries` are used, then listed as removefailed."""
    tx.connection.execute(
        file.update().where(among(file.c.id, ids)).values(tries=file.c.tries + 1, reason=reason[:500])
    )
    spent = sa.select(file.c.id).where(among(file.c.id, ids), file.c.tries >= tries)
    if over := list(tx.connection.execute(spent).scalars()):
        move(tx, file, FILE_TABLE, e.FileRemovalsFailed(ids=over, reason=reason))


_KNOWN = sa.select(file.c.lfn).where(among_words(file.c.lfn))


def registered(connection: sa.Connection, lfns: Sequence[str]) -> set[str]:
    """Return which of the names the catalogue knows: what it knows is never removed as left over."""
    return set(connection.execute(_KNOWN, {"words": lfns}).scalars())


def clean_jobs(tx: Tx, limit: int, after: int = 0) -> Page:
    """Move successful jobs to cleaned, of the next `limit`, of which neither small files nor directories are left."""
    page = heads.oldest(tx.connection, counters.JOB, (JobState.SUCCESS,), limit, after)
    return Page(_clean(tx, page), page[-1] if len(page) == limit else 0)


_SMALL_LEFT = sa.exists().where(
    file.c.job_id == job.c.id, file.c.kind == FileKind.UNMERGED, file.c.state != FileState.REMOVED
)
_DIRECTORY_LEFT = sa.exists().where(
    attempt.c.job_id == job.c.id, sa.or_(attempt.c.cleaned.is_(None), attempt.c.cleaned == attempts.OUTPUT_LEFT)
)
_NOTHING_LEFT = sa.select(job.c.id).where(
    among(job.c.id), job.c.state == JobState.SUCCESS, ~_SMALL_LEFT, ~_DIRECTORY_LEFT
)


def _clean(tx: Tx, job_ids: list[int]) -> list[int]:
    ids = list(tx.connection.execute(_NOTHING_LEFT, {"ids": job_ids}).scalars()) if job_ids else []
    return move(tx, job, JOB_TABLE, e.JobsCleaned(ids=ids)) if ids else []

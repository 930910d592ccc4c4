"""Take back a range that is no longer ours: nothing of it may reach the catalogue any more."""

import sqlalchemy as sa

from domain import events as e
from domain.file import FILE_TABLE, FileState
from domain.job import UNFINISHED, JobState
from storage import allocations, schema
from storage.accounting import dissolve_merges
from storage.engine import among
from storage.jobs import kill
from storage.moves import move
from storage.transaction import Tx

file, job, merge_input = schema.file, schema.job, schema.merge_input


def revoke(tx: Tx, allocation_id: int, reason: str) -> list[int]:
    """End the jobs of a range and spoil their outputs that are in no merged file yet; return the jobs ended.

    Merges under way that have such an output as member are ended too, their other members wait for another merge. What is
    in a merged file already stays: the ledger shows it as surplus.
    """
    allocations.revoke(tx, allocation_id, reason)
    ours = sa.select(job.c.id).where(job.c.allocation_id == allocation_id)
    concerned = (
        sa.select(merge_input.c.job_id)
        .join(file, file.c.id == merge_input.c.file_id)
        .join(job, job.c.id == merge_input.c.job_id)
        .where(file.c.job_id.in_(ours), merge_input.c.live == 1, job.c.state.in_((*UNFINISHED, JobState.EXHAUSTED)))
    )
    merges = sorted(set(tx.connection.execute(concerned).scalars()))
    if merges:
        dissolve_merges(tx, merges, reason)
        kill(tx, merges, reason)
    loose = sa.select(file.c.id).where(
        file.c.job_id.in_(ours), file.c.state.in_((FileState.UNMERGED, FileState.REGISTERED))
    )
    spoiled = move(
        tx, file, FILE_TABLE, e.FilesInvalidated(ids=list(tx.connection.execute(loose).scalars()), reason=reason)
    )
    owners = sa.select(file.c.job_id).where(among(file.c.id, spoiled))
    unfinished = ours.where(job.c.state.in_(UNFINISHED))
    produced = ours.where(job.c.state == JobState.ACCOUNTED, job.c.id.in_(owners))
    ended = [*tx.connection.execute(unfinished).scalars(), *tx.connection.execute(produced).scalars()]
    return kill(tx, ended, reason, e.JobsRevoked)

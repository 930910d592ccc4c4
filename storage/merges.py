"""Merges: which small files wait, and which merge job takes them."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.file import FILE_TABLE, FileState
from domain.job import JobState, JobType, rank
from domain.merging import Load, Waiting
from domain.names import unit_id
from storage import bulk, counters, schema
from storage.counters import Place
from storage.engine import among
from storage.jobs import next_id
from storage.moves import move_all
from storage.transaction import Tx

file, job, merge_input, tally = schema.file, schema.job, schema.merge_input, schema.tally


class Input(NamedTuple):
    """A member of a merge, in the order in which it is to be read."""

    lfn: str
    size: int
    events: int
    adler32: str


class Gathering(NamedTuple):
    """How much of a workflow waits at a site to be merged."""

    workflow_id: int
    site: str
    load: Load


class Planned(NamedTuple):
    """A merge job to be made: of which files, where they lie."""

    workflow_id: int
    site: str
    priority: int
    members: list[int]


_GATHERED = counters.summing(counters.FILE, ("workflow_id", "site"), tally.c.state == FileState.UNMERGED)
_WAITS = (
    file.c.state == FileState.UNMERGED,
    file.c.workflow_id == sa.bindparam("owner"),
    file.c.site == sa.bindparam("at"),
)
_WAITING = (
    sa.select(file.c.id, file.c.size, file.c.events, job.c.first_event, file.c.created_at)
    .join(job, job.c.id == file.c.job_id)
    .where(*_WAITS)
    .order_by(file.c.id)
    .limit(sa.bindparam("most"))
)
_OLDEST = sa.select(file.c.created_at).where(*_WAITS).order_by(file.c.id).limit(1)
_MEMBERS = (
    sa.select(file.c.id, file.c.events, job.c.first_event).join(job, job.c.id == file.c.job_id).where(among(file.c.id))
)
_owner = job.alias("owner")
_INPUTS = (
    sa.select(merge_input.c.job_id, file.c.lfn, file.c.size, file.c.events, file.c.adler32)
    .join(file, file.c.id == merge_input.c.file_id)
    .join(_owner, _owner.c.id == file.c.job_id)
    .where(among(merge_input.c.job_id), merge_input.c.live == 1)
    .order_by(merge_input.c.job_id, _owner.c.first_event)
)


def gatherings(connection: sa.Connection) -> list[Gathering]:
    """Return all places where files wait to be merged."""
    rows = connection.execute(_GATHERED)
    return [Gathering(row.workflow_id, row.site, Load(row.number, row.bytes, row.events)) for row in rows]


def waiting(connection: sa.Connection, workflow_id: int, site: str, limit: int) -> list[Waiting]:
    """Return the files of a workflow that wait at a site, oldest first."""
    given = {"owner": workflow_id, "at": site, "most": limit}
    return [Waiting(*row) for row in connection.execute(_WAITING, given)]


def oldest(connection: sa.Connection, workflow_id: int, site: str) -> float | None:
    """Return since when the first file of a workflow waits at a site (UTC epoch seconds), None if none does."""
    since: float | None = connection.execute(_OLDEST, {"owner": workflow_id, "at": site}).scalar_one_or_none()
    return since


def create_all(tx: Tx, planned: Sequence[Planned]) -> list[int]:
    """Make these merge jobs and return their ids; raise StaleState if any member is taken."""
    every = [member for one in planned for member in one.members]
    known = {row.id: row for row in tx.connection.execute(_MEMBERS, {"ids": every})}
    rows = []
    counts: counters.Sums = {}
    for identity, one in enumerate(planned, start=next_id(tx.connection, job)):
        events = sum(known[member].events for member in one.members)
        rows.append(
            {
                "id": identity,
                "workflow_id": one.workflow_id,
                "type": JobType.MERGE,
                "rank": rank(JobType.MERGE, one.priority),
                "pinned": one.site,
                "created_at": tx.now,
                "state": JobState.NEW,
                "since": tx.now,
                "unit": unit_id("merge", one.workflow_id, one.site, identity, *one.members),
                "first_event": min(known[member].first_event for member in one.members),
                "events": events,
            }
        )
        place = Place(JobState.NEW, one.workflow_id, JobType.MERGE, one.site, "")
        counters.change(counts, counters.JOB, place, 1, events)
    bulk.insert(tx.connection, job, rows)
    counters.book(tx.connection, counts)
    ids = [row["id"] for row in rows]
    tx.emit(e.JobsCreated(ids=ids))
    move_all(tx, file, FILE_TABLE, e.FilesUnderMerge(ids=every))
    pairs = [(identity, member) for identity, one in zip(ids, planned, strict=True) for member in one.members]
    bulk.insert(
        tx.connection, merge_input, [{"job_id": owner, "file_id": member, "live": 1} for owner, member in pairs]
    )
    return ids


def held(connection: sa.Connection, job_ids: list[int]) -> set[int]:
    """Return which of the merge jobs still have members."""
    query = sa.select(merge_input.c.job_id).where(among(merge_input.c.job_id, job_ids), merge_input.c.live == 1)
    return set(connection.execute(query.distinct()).scalars())


def inputs(connection: sa.Connection, job_ids: list[int]) -> dict[int, list[Input]]:
    """Return the live members of merge jobs, in the order of their events."""
    found: dict[int, list[Input]] = defaultdict(list)
    for job_id, *rest in connection.execute(_INPUTS, {"ids": job_ids}):
        found[job_id].append(Input(*rest))
    return dict(found)

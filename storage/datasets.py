"""The local catalogue: datasets, blocks, files (DBS-01 to DBS-06)."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from domain import events as e
from domain.file import BLOCK_TABLE, FILE_TABLE, BlockState, FileKind, FileState
from domain.job import JOB_TABLE
from domain.names import block_name
from storage import counters, schema
from storage.allocations import credit
from storage.engine import among
from storage.moves import move
from storage.transaction import Tx

dataset, block, file, job, merge_input = schema.dataset, schema.block, schema.file, schema.job, schema.merge_input


class BlockLimits(NamedTuple):
    """A block closes at whatever comes first; age in seconds."""

    files: int
    size: int
    events: int
    age_s: float


class CataloguedFile(NamedTuple):
    """A merged file as the catalogue shows it."""

    id: int
    lfn: str
    dataset: str
    block: str
    site: str
    size: int
    events: int
    adler32: str
    sha256: str
    parents: tuple[str, ...]


_DATASET = sa.select(dataset.c.id).where(dataset.c.name == sa.bindparam("named"))


def dataset_id(tx: Tx, name: str) -> int:
    """Return the id of a dataset, made if it is new."""
    known = tx.connection.execute(_DATASET, {"named": name}).scalar_one_or_none()
    if known is not None:
        return int(known)
    added = tx.connection.execute(dataset.insert().values(name=name, status="PRODUCTION", created_at=tx.now))
    assert added.inserted_primary_key is not None
    return int(added.inserted_primary_key[0])


_REGISTERED = (
    sa.select(file.c.id, file.c.dataset_id, file.c.site, file.c.size, file.c.events, file.c.job_id)
    .where(among(file.c.id), file.c.state == FileState.REGISTERED)
    .order_by(file.c.id)
)


def book(tx: Tx, file_ids: Sequence[int], limits: BlockLimits) -> list[int]:
    """Put registered files into blocks, and their jobs and events on the credit side; return those booked.

    Everything that follows from "it is in the catalogue" is in this one transaction (DBS-05, PA-511).
    """
    rows = tx.connection.execute(_REGISTERED, {"ids": list(file_ids)}).all()
    places: dict[tuple[int, str], list[sa.Row[*tuple[Any, ...]]]] = defaultdict(list)
    for row in rows:
        places[row.dataset_id, row.site].append(row)
    for (owner, site), members in places.items():
        _into_blocks(tx, owner, site, members, limits)
    moved = move(tx, file, FILE_TABLE, e.FilesCatalogued(ids=[row.id for row in rows]))
    if moved:
        _credit_jobs(tx, [row.job_id for row in rows])
        counters.delivered(tx, moved, 1)
    return moved


_OPEN_BLOCK = sa.select(block.c.id, block.c.files, block.c.bytes, block.c.events).where(
    block.c.dataset_id == sa.bindparam("owner"), block.c.site == sa.bindparam("at"), block.c.open == 1
)
_PUT_IN = file.update().where(among(file.c.id)).values(block_id=sa.bindparam("into"))
_GROW = (
    block.update()
    .where(block.c.id == sa.bindparam("which"))
    .values(files=sa.bindparam("files_now"), bytes=sa.bindparam("bytes_now"), events=sa.bindparam("events_now"))
)


def _into_blocks(tx: Tx, owner: int, site: str, members: Sequence[Any], limits: BlockLimits) -> None:
    """Put files into the open block of their place, and into fresh ones as each is full."""
    left = list(members)
    while left:
        current = tx.connection.execute(_OPEN_BLOCK, {"owner": owner, "at": site}).one_or_none()
        identity, files, size, events = current if current is not None else (_open(tx, owner, site), 0, 0, 0)
        taken: list[int] = []
        full = False
        while left and not full:
            row = left.pop(0)
            taken.append(row.id)
            files, size, events = files + 1, size + row.size, events + row.events
            full = files >= limits.files or size >= limits.size or events >= limits.events
        tx.connection.execute(_PUT_IN, {"ids": taken, "into": identity})
        tx.connection.execute(_GROW, {"which": identity, "files_now": files, "bytes_now": size, "events_now": events})
        if full:
            close(tx, [identity], "full")


def _open(tx: Tx, owner: int, site: str) -> int:
    name = tx.connection.execute(sa.select(dataset.c.name).where(dataset.c.id == owner)).scalar_one()
    number = tx.connection.execute(
        sa.select(sa.func.count()).where(block.c.dataset_id == owner, block.c.site == site)
    ).scalar_one()
    added = tx.connection.execute(
        block.insert().values(
            dataset_id=owner,
            site=site,
            name=block_name(name, site, number + 1),
            open=1,
            created_at=tx.now,
            state=BlockState.OPEN,
            since=tx.now,
        )
    )
    assert added.inserted_primary_key is not None
    identity = int(added.inserted_primary_key[0])
    tx.emit(e.BlocksOpened(ids=[identity]))
    return identity


def close(tx: Tx, block_ids: list[int], reason: str) -> list[int]:
    """Close blocks for good."""
    return move(tx, block, BLOCK_TABLE, e.BlocksClosed(ids=block_ids, reason=reason), open=None)


def close_aged(tx: Tx, age_s: float, busy: Collection[str]) -> list[int]:
    """Close blocks that have been open for too long, or to whose dataset no workflow adds files; `busy` are the others."""
    query = sa.select(block.c.id, block.c.created_at, dataset.c.name).join(dataset, dataset.c.id == block.c.dataset_id)
    rows = tx.connection.execute(query.where(block.c.open == 1))
    ids = [row.id for row in rows if row.created_at <= tx.now - age_s or row.name not in busy]
    return close(tx, sorted(ids), "its time is over") if ids else []


_MADE_OF = (
    sa.select(file.c.job_id)
    .join(merge_input, merge_input.c.file_id == file.c.id)
    .where(among(merge_input.c.job_id), merge_input.c.live == 1)
)


def _credit_jobs(tx: Tx, job_ids: list[int]) -> None:
    """The jobs whose events are in these catalogued files have succeeded."""
    members = tx.connection.execute(_MADE_OF, {"ids": job_ids}).scalars()
    moved = move(tx, job, JOB_TABLE, e.JobsSucceeded(ids=sorted({*job_ids, *members})))
    credit(tx, moved, merged=1)


def files(connection: sa.Connection, name: str | None = None, limit: int = 100_000) -> list[CataloguedFile]:
    """Return the merged files of a dataset, or of all, with their parents: the LFNs that were merged into them."""
    return _files(connection, sa.true() if name is None else dataset.c.name == name, limit)


def _files(connection: sa.Connection, where: sa.ColumnElement[bool], limit: int = 100_000) -> list[CataloguedFile]:
    query = (
        sa.select(
            file.c.id,
            file.c.lfn,
            dataset.c.name,
            block.c.name,
            file.c.site,
            file.c.size,
            file.c.events,
            file.c.adler32,
            file.c.sha256,
            file.c.job_id,
        )
        .join(dataset, dataset.c.id == file.c.dataset_id)
        .join(block, block.c.id == file.c.block_id)
        .where(file.c.kind == FileKind.MERGED, file.c.state == FileState.CATALOGUED, where)
    )
    rows = connection.execute(query.order_by(file.c.id).limit(limit)).all()
    parents: dict[int, list[str]] = defaultdict(list)
    source = sa.select(merge_input.c.job_id, file.c.lfn).join(file, file.c.id == merge_input.c.file_id)
    for owner, lfn in connection.execute(
        source.where(among(merge_input.c.job_id, [row.job_id for row in rows]), merge_input.c.live == 1)
    ):
        parents[owner].append(lfn)
    return [CataloguedFile(*row[:9], tuple(sorted(parents[row.job_id]))) for row in rows]


class Place(NamedTuple):
    """Where a merged file was made, and for which workflow."""

    file_id: int
    site: str
    workflow_id: int


_PLACES = sa.select(file.c.id, file.c.site, file.c.workflow_id).where(among(file.c.id)).order_by(file.c.id)


def places(connection: sa.Connection, file_ids: Sequence[int]) -> list[Place]:
    return [Place(*row) for row in connection.execute(_PLACES, {"ids": list(file_ids)})]


def files_of_allocation(connection: sa.Connection, allocation_id: int) -> list[CataloguedFile]:
    """Return the merged files that hold events of an allocation; one may hold events of others too."""
    small = file.alias("small")
    made = sa.select(job.c.id).where(job.c.allocation_id == allocation_id)
    merged = (
        sa.select(merge_input.c.job_id)
        .join(small, small.c.id == merge_input.c.file_id)
        .where(small.c.job_id.in_(made), merge_input.c.live == 1)
    )
    return _files(connection, sa.or_(file.c.job_id.in_(made), file.c.job_id.in_(merged)))

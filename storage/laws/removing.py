"""Law 7: nothing is deleted before its successor is verified, catalogued and delivered."""

from collections import defaultdict
from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from domain.events import FilesRemoving
from domain.file import FileKind, FileState
from domain.job import JobType
from domain.spec import WorkflowSpec
from domain.transfer import TRANSFER_TABLE, TransferState
from storage import log, schema
from storage.laws.breach import Finding, Scope
from storage.laws.outputs import GOING

file, job, merge_input, replica, transfer, workflow = (
    schema.file, schema.job, schema.merge_input, schema.replica, schema.transfer, schema.workflow,
)  # fmt: skip

SERVED = (TransferState.SAFE, TransferState.RELEASABLE, TransferState.RELEASED, TransferState.CANCELLED)
"""States of a transfer that no longer needs what was merged."""

ARRIVED = (TransferState.VERIFIED, TransferState.MIGRATING, TransferState.SAFE, TransferState.RELEASABLE)
"""States of a transfer whose destination has a verified copy."""

small, big = file.alias("small"), file.alias("big")
GONE = sa.and_(small.c.state.in_(GOING), merge_input.c.live.is_not(None))


def successor(scope: Scope) -> Iterator[Finding]:
    """Find small files that go or are gone without a successor that is catalogued, verified and served."""
    verified = sa.exists().where(replica.c.file_id == big.c.id)
    shown = (big.c.kind == FileKind.MERGED, big.c.state == FileState.CATALOGUED, verified)
    heir = sa.exists().where(big.c.job_id == job.c.id, *shown)
    childless = (
        sa.select(job.c.id)
        .where(job.c.type == JobType.MERGE, ~heir)
        .cte("childless")
        .prefix_with("MATERIALIZED", dialect="sqlite")
    )
    members = sa.select(small.c.id, small.c.state).join(merge_input, merge_input.c.file_id == small.c.id)
    bare = members.where(GONE, merge_input.c.job_id.in_(sa.select(childless.c.id)))
    for identity, state in scope.rows(bare):
        yield Finding(f"file {identity}", f"is {state} and no catalogued, verified file holds its events")
    merged = sa.select(file.c.id, file.c.state).where(file.c.state.in_(GOING), file.c.kind == FileKind.MERGED)
    for identity, state in scope.rows(merged):
        yield Finding(f"file {identity}", f"is a merged file and {state}")
    yield from _unserved(scope)


def _unserved(scope: Scope) -> Iterator[Finding]:
    """Find small files whose deletion was granted while a copy of the successor was still wanted elsewhere.

    Members of one merge are granted in the order of their ids, so the last one is asked for all of them.
    """
    members = sa.select(sa.func.max(small.c.id)).join(merge_input, merge_input.c.file_id == small.c.id)
    last = members.where(GONE, merge_input.c.job_id == big.c.job_id).correlate(big).scalar_subquery().label("last")
    late = sa.select(last, transfer.c.id).join_from(transfer, big, big.c.id == transfer.c.file_id)
    unserved = late.where(transfer.c.state.not_in(SERVED), big.c.kind == FileKind.MERGED).subquery()
    for identity, task in scope.rows(sa.select(unserved).where(unserved.c.last.is_not(None))):
        if state := _state_at_grant(scope.connection, identity, task):
            text = f"its deletion was granted while transfer {task} of its successor was {state}"
            yield Finding(f"file {identity}", text)
    for site, owners in _destinations(scope.connection).items():
        asked = sa.exists().where(transfer.c.file_id == big.c.id, transfer.c.destination == site)
        heirs = sa.select(last, big.c.id).where(big.c.kind == FileKind.MERGED, big.c.workflow_id.in_(owners))
        unasked = heirs.where(big.c.site != site, ~asked).subquery()
        for identity, heir in scope.rows(sa.select(unasked).where(unasked.c.last.is_not(None))):
            text = f"its deletion was granted before its successor, file {heir}, was asked for at {site}"
            yield Finding(f"file {identity}", text)


def _destinations(connection: sa.Connection) -> dict[str, list[int]]:
    """Return the workflows whose files are wanted at each site."""
    found: dict[str, list[int]] = defaultdict(list)
    for owner, spec in connection.execute(sa.select(workflow.c.id, workflow.c.spec)):
        for site in msgspec.json.decode(spec, type=WorkflowSpec).deliver_to:
            found[site].append(owner)
    return found


def _state_at_grant(connection: sa.Connection, identity: int, task: int) -> TransferState | None:
    """Return the state that a transfer had when the file's deletion was granted, None if served or not there yet."""
    grants = [
        logged.id for logged in log.history(connection, "file", identity) if isinstance(logged.fact, FilesRemoving)
    ]
    state: TransferState | None = None
    for logged in log.history(connection, "transfer", task):
        if grants and logged.id < grants[0]:
            state = TRANSFER_TABLE.move(type(logged.fact)).target
    return None if state in SERVED else state


def replicas(scope: Scope) -> Iterator[Finding]:
    """Find files without a copy on record, removed ones with one, and transfers whose state and copy differ."""
    copy = sa.exists().where(replica.c.file_id == file.c.id, replica.c.site == file.c.site)
    some = sa.exists().where(replica.c.file_id == file.c.id)
    wrong = sa.or_(
        sa.and_(
            file.c.state.in_(
                (FileState.UNMERGED, FileState.UNDERMERGE, FileState.MERGED, FileState.REGISTERED, FileState.CATALOGUED)
            ),
            ~copy,
        ),
        sa.and_(file.c.state == FileState.REMOVED, some),
    )
    for identity, state in scope.rows(sa.select(file.c.id, file.c.state).where(wrong)):
        yield Finding(f"file {identity}", f"is {state} and its replicas on record say otherwise")
    there = sa.exists().where(replica.c.file_id == transfer.c.file_id, replica.c.site == transfer.c.destination)
    arrived = transfer.c.state.in_(ARRIVED)
    before = transfer.c.state.not_in((*ARRIVED, TransferState.QUARANTINED))
    query = sa.select(transfer.c.id, transfer.c.state, transfer.c.destination)
    for identity, state, site in scope.rows(query.where(sa.or_(sa.and_(arrived, ~there), sa.and_(before, there)))):
        yield Finding(f"transfer {identity}", f"is {state} and the replicas on record at {site} say otherwise")

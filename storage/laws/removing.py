"""Law 7: nothing is deleted before its successor is verified, catalogued and delivered."""

from collections.abc import Iterator

import msgspec
import sqlalchemy as sa

from domain.events import FilesRemoving
from domain.file import FileKind, FileState
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


def successor(scope: Scope) -> Iterator[Finding]:
    """Find small files that go or are gone without a successor that is catalogued, verified and served."""
    good = sa.exists().where(
        merge_input.c.file_id == file.c.id,
        merge_input.c.live.is_not(None),
        big.c.job_id == merge_input.c.job_id,
        big.c.kind == FileKind.MERGED,
        big.c.state == FileState.CATALOGUED,
        sa.exists().where(replica.c.file_id == big.c.id),
    )
    member = sa.exists().where(merge_input.c.file_id == file.c.id, merge_input.c.live.is_not(None))
    bare = sa.select(file.c.id, file.c.state).where(file.c.state.in_(GOING), member, ~good)
    for identity, state in scope.rows(bare):
        yield Finding(f"file {identity}", f"is {state} and no catalogued, verified file holds its events")
    merged = sa.select(file.c.id, file.c.state).where(file.c.state.in_(GOING), file.c.kind == FileKind.MERGED)
    for identity, state in scope.rows(merged):
        yield Finding(f"file {identity}", f"is a merged file and {state}")
    yield from _unserved(scope)


def _gone() -> sa.Select[tuple[int, int, str]]:
    """Return (id, successor's id, successor's site) of small files that go or are gone."""
    query = sa.select(small.c.id, big.c.id, big.c.site).join(merge_input, merge_input.c.file_id == small.c.id)
    joined = query.join(big, big.c.job_id == merge_input.c.job_id)
    return joined.where(small.c.state.in_(GOING), merge_input.c.live.is_not(None), big.c.kind == FileKind.MERGED)


def _unserved(scope: Scope) -> Iterator[Finding]:
    """Find small files whose deletion was granted while a copy of the successor was still wanted elsewhere."""
    late = _gone().add_columns(transfer.c.id).join(transfer, transfer.c.file_id == big.c.id)
    for identity, _, _, task in scope.rows(late.where(transfer.c.state.not_in(SERVED))):
        if state := _state_at_grant(scope.connection, identity, task):
            yield Finding(
                f"file {identity}", f"its deletion was granted while transfer {task} of its successor was {state}"
            )
    specs = scope.connection.execute(sa.select(workflow.c.id, workflow.c.spec)).all()
    for owner, text in specs:
        for site in msgspec.json.decode(text, type=WorkflowSpec).deliver_to:
            asked = sa.exists().where(transfer.c.file_id == big.c.id, transfer.c.destination == site)
            never = _gone().where(small.c.workflow_id == owner, big.c.site != site, ~asked)
            for identity, heir, _ in scope.rows(never):
                yield Finding(
                    f"file {identity}",
                    f"its deletion was granted before its successor, file {heir}, was asked for at {site}",
                )


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

"""One item with all that is known of it: a workflow, a job, a file, a transfer."""

from typing import Any

import msgspec
import sqlalchemy as sa

from storage import job_lists, log, schema
from storage.views.lists import FILE_COLUMNS, JOB_COLUMNS, TRANSFER_COLUMNS, causes
from storage.views.records import (
    AttemptView,
    FactView,
    FileRow,
    FileView,
    JobRow,
    JobView,
    ReplicaView,
    TransferView,
    Unknown,
    WorkflowDetail,
)
from storage.views.rows import rows
from storage.views.sums import status

workflow, job, attempt, file = schema.workflow, schema.job, schema.attempt, schema.file
merge_input, replica, transfer, block, dataset = (
    schema.merge_input,
    schema.replica,
    schema.transfer,
    schema.block,
    schema.dataset,
)

LARGEST_ID = 2**63 - 1


def history(connection: sa.Connection, entity: str, item: int) -> list[FactView]:
    """Return every fact that moved one item, oldest first."""
    found = []
    for logged in log.history(connection, entity, item):
        body: dict[str, Any] = msgspec.to_builtins(logged.fact)
        more = {key: value for key, value in body.items() if key not in ("type", "ids", "reason")}
        found.append(FactView(id=logged.id, at=logged.at, type=body["type"], reason=logged.fact.reason, more=more))
    return found


def one_job_row(connection: sa.Connection, identity: int) -> JobRow:
    """Return a job as lists show it; raise Unknown."""
    query = sa.select(*JOB_COLUMNS).join(workflow, workflow.c.id == job.c.workflow_id)
    found = rows(connection, JobRow, query.where(job.c.id == within(identity)))
    if not found:
        last = connection.execute(sa.select(sa.func.max(job.c.id))).scalar()
        raise Unknown(f"there is no job {identity}; " + (f"the newest is {last}" if last else "none has been made yet"))
    return found[0]


def one_job(connection: sa.Connection, identity: int) -> JobView:
    """Return a job with its attempts, inputs, files and history; raise Unknown."""
    row = one_job_row(connection, identity)
    tries = sa.select(*(attempt.c[name] for name in AttemptView.__struct_fields__)).where(attempt.c.job_id == identity)
    member = sa.select(merge_input.c.file_id).where(merge_input.c.job_id == identity)
    return JobView(
        **msgspec.structs.asdict(row),
        unit=connection.execute(sa.select(job.c.unit).where(job.c.id == identity)).scalar_one(),
        lists=job_lists.words(connection, identity),
        inputs=_files(connection, file.c.id.in_(member)),
        attempts_made=rows(connection, AttemptView, tries.order_by(attempt.c.number)),
        files=_files(connection, file.c.job_id == identity),
        history=history(connection, "job", identity),
    )


def within(identity: int) -> int:
    """Return an id that the database can hold: another one is none of its rows."""
    return identity if 0 < identity <= LARGEST_ID else 0


def _files(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[FileRow]:
    query = sa.select(*FILE_COLUMNS).join(workflow, workflow.c.id == file.c.workflow_id).where(where)
    return rows(connection, FileRow, query.order_by(file.c.id))


def one_file(connection: sa.Connection, name: int | str) -> FileView:
    """Return a file by id or LFN: where it is, what became of it; raise Unknown."""
    found = _files(connection, file.c.id == within(name) if isinstance(name, int) else file.c.lfn == name)
    if not found:
        raise Unknown(f"there is no file {name}")
    row = found[0]
    places = (
        sa.select(dataset.c.name.label("dataset"), block.c.name.label("block"), file.c.adler32, file.c.sha256)
        .join(dataset, dataset.c.id == file.c.dataset_id)
        .outerjoin(block, block.c.id == file.c.block_id)
        .where(file.c.id == row.id)
    )
    merge = sa.select(merge_input.c.job_id).where(merge_input.c.file_id == row.id, merge_input.c.live == 1)
    merge_job = connection.execute(merge).scalar_one_or_none()
    member = sa.select(merge_input.c.file_id).where(merge_input.c.job_id == row.job, merge_input.c.live == 1)
    copies = sa.select(replica.c.site, replica.c.method, replica.c.verified_at).where(replica.c.file_id == row.id)
    return FileView(
        **msgspec.structs.asdict(row),
        **connection.execute(places).mappings().one(),
        merge_job=merge_job,
        merged_into=None if merge_job is None else _output(connection, merge_job),
        parents=list(
            connection.execute(sa.select(file.c.lfn).where(file.c.id.in_(member)).order_by(file.c.id)).scalars()
        ),
        replicas=rows(connection, ReplicaView, copies.order_by(replica.c.verified_at)),
        transfers=_transfers(connection, transfer.c.file_id == row.id),
        history=history(connection, "file", row.id),
    )


def _output(connection: sa.Connection, merge_job: int) -> str | None:
    return connection.execute(sa.select(file.c.lfn).where(file.c.job_id == merge_job)).scalars().first()


def one_transfer(connection: sa.Connection, identity: int) -> TransferView:
    """Return a transfer; raise Unknown."""
    found = _transfers(connection, transfer.c.id == within(identity))
    if not found:
        raise Unknown(f"there is no transfer {identity}")
    return found[0]


def _transfers(connection: sa.Connection, where: sa.ColumnElement[bool]) -> list[TransferView]:
    query = sa.select(*TRANSFER_COLUMNS).join(file, file.c.id == transfer.c.file_id).where(where)
    return rows(connection, TransferView, query.order_by(transfer.c.id))


def one_workflow(connection: sa.Connection, name: str, now: float) -> WorkflowDetail:
    """Return a workflow with its ledger, failures, specification and history; raise Unknown."""
    view = status(connection, now, name)[0]
    spec = connection.execute(sa.select(workflow.c.spec).where(workflow.c.id == view.id)).scalar_one()
    return WorkflowDetail(
        workflow=view,
        causes=causes(connection, name),
        history=history(connection, "workflow", view.id),
        spec=msgspec.json.decode(spec),
    )

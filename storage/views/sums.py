"""Sums: how far each workflow is, where the jobs are."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.file import FileKind, FileState
from domain.job import JobState, JobType
from domain.workflow import WorkflowState
from storage import schema, workflows
from storage.views.records import Counts, SiteJobs, Totals, WorkflowView
from storage.views.rows import unknown
from storage.workflows import Workflow

workflow, allocation, job, file = schema.workflow, schema.allocation, schema.job, schema.file
replica, transfer = schema.replica, schema.transfer


def _by(
    connection: sa.Connection, owner: sa.ColumnElement[int], state: sa.ColumnElement[str], source: Any, only: int | None
) -> dict[int, Counts]:
    found: dict[int, Counts] = defaultdict(dict)
    query = sa.select(owner, state, sa.func.count()).select_from(source).group_by(owner, state)
    for identity, word, count in connection.execute(query if only is None else query.where(owner == only)):
        found[identity][word] = int(count)
    return found


def _ledgers(connection: sa.Connection) -> dict[int, tuple[int, int, int]]:
    columns = (sa.func.sum(allocation.c[name]) for name in ("events", "merged_events", "lost_events"))
    query = sa.select(allocation.c.workflow_id, *columns).where(allocation.c.state != AllocationState.REVOKED)
    return {
        row[0]: (int(row[1]), int(row[2]), int(row[3]))
        for row in connection.execute(query.group_by(allocation.c.workflow_id))
    }


def _unmerged_events(connection: sa.Connection) -> dict[int, int]:
    query = sa.select(job.c.workflow_id, sa.func.sum(job.c.events)).where(
        job.c.state == JobState.ACCOUNTED, job.c.type == JobType.PROCESSING
    )
    return {identity: int(events) for identity, events in connection.execute(query.group_by(job.c.workflow_id))}


def _delivered(connection: sa.Connection, owner: int, sites: list[str]) -> int:
    """Return the events of catalogued files with a copy at each of the sites; of all if none is named."""
    query = sa.select(file.c.id, file.c.events).where(
        file.c.workflow_id == owner, file.c.kind == FileKind.MERGED, file.c.state == FileState.CATALOGUED
    )
    if sites:
        arrived = query.join(replica, replica.c.file_id == file.c.id).where(replica.c.site.in_(sites))
        query = arrived.group_by(file.c.id, file.c.events).having(sa.func.count() == len(set(sites)))
    chosen = query.subquery()
    return int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(chosen.c.events), 0))).scalar_one())


def status(connection: sa.Connection, now: float, name: str | None = None) -> list[WorkflowView]:
    """Return every workflow with its ledger, or the one of this name."""
    known = workflows.load(connection)
    only: int | None = None
    if name is not None:
        names = {item.name: identity for identity, item in known.items()}
        if name not in names:
            raise unknown("workflow", name, list(names))
        only = names[name]
        known = {only: known[only]}
    jobs = _by(connection, job.c.workflow_id, job.c.state, job, only)
    files = _by(connection, file.c.workflow_id, file.c.state, file, only)
    moving = _by(connection, file.c.workflow_id, transfer.c.state, transfer.join(file), only)
    ledgers, unmerged = _ledgers(connection), _unmerged_events(connection)
    rows = connection.execute(sa.select(workflow.c.id, workflow.c.created_at, workflow.c.events))
    born = {identity: (created_at, events) for identity, created_at, events in rows}
    views = []
    for identity, item in known.items():
        allocated, merged, lost = ledgers.get(identity, (0, 0, 0))
        created_at, requested = born[identity]
        sums = Totals(
            requested=requested,
            allocated=allocated,
            in_progress=allocated - merged - lost,
            generated=merged + unmerged.get(identity, 0),
            merged=merged,
            delivered=_delivered(connection, identity, item.spec.deliver_to),
            lost=lost,
            jobs=jobs.get(identity, {}),
            files=files.get(identity, {}),
            transfers=moving.get(identity, {}),
        )
        views.append(_workflow_view(item, sums, created_at, now))
    return views


def _workflow_view(item: Workflow, sums: Totals, created_at: float, now: float) -> WorkflowView:
    age = now - created_at
    done = sums.merged or sums.generated
    left = sums.in_progress if item.manager else sums.requested - sums.merged - sums.lost
    running = item.state is WorkflowState.ACTIVE and done > 0 and age > 0
    return WorkflowView(
        id=item.id,
        name=item.name,
        state=item.state,
        since=item.since,
        reason=item.reason,
        manager=item.manager,
        request=item.request,
        dataset=item.spec.dataset_name,
        priority=item.spec.priority,
        deliver_to=item.spec.deliver_to,
        eta=now + max(left, 0) * age / done if running else None,
        **{name: getattr(sums, name) for name in Totals.__struct_fields__},
    )


def totals(connection: sa.Connection, now: float) -> Totals:
    """Return the sums over all workflows."""
    return sum_up(status(connection, now))


def sum_up(views: list[WorkflowView]) -> Totals:
    """Add workflows up."""
    sums: dict[str, Any] = dict.fromkeys(Totals.__struct_fields__, 0)
    for name in Totals.__struct_fields__:
        values = [getattr(view, name) for view in views]
        sums[name] = _merged(values) if name in ("jobs", "files", "transfers") else sum(values)
    return Totals(**sums)


def _merged(counts: list[Mapping[str, int]]) -> Counts:
    found: Counts = {}
    for each in counts:
        for word, count in each.items():
            found[word] = found.get(word, 0) + count
    return found


def jobs_by_site(connection: sa.Connection) -> list[SiteJobs]:
    """Return jobs by state at each target; those at none come first."""
    found: dict[str, Counts] = defaultdict(dict)
    # an index alone answers this
    query = sa.select(job.c.target, job.c.state, sa.func.count()).group_by(job.c.target, job.c.state)
    for target, state, count in connection.execute(query):
        found[target or ""][state] = int(count)
    site = sa.select(job.c.site).limit(1)
    sites = {
        target: connection.execute(site.where(job.c.target == target)).scalar() if target else "" for target in found
    }
    rows = (SiteJobs(site=sites[target] or "", target=target, states=states) for target, states in found.items())
    return sorted(rows, key=lambda row: (row.site, row.target))

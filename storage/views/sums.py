"""Sums: how far each workflow is, where the jobs are. Read from the counters, so that they cost the same at any size."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from domain.allocation import AllocationState
from domain.job import JobState, JobType
from domain.workflow import WorkflowState
from storage import counters, schema, workflows
from storage.views.records import Counts, SiteJobs, TargetAttempts, Totals, WorkflowView
from storage.views.rows import unknown
from storage.workflows import Workflow

workflow, allocation, job, tally = schema.workflow, schema.allocation, schema.job, schema.tally


def _by_state(connection: sa.Connection, entity: str, only: int | None) -> dict[int, Counts]:
    """Return how many items of a kind are in each state, by workflow: of all, or of one."""
    found: dict[int, Counts] = defaultdict(dict)
    where = () if only is None else (tally.c.workflow_id == only,)
    for row in counters.sums(connection, entity, ("workflow_id", "state"), *where):
        found[row.workflow_id][row.state] = int(row.number)
    return found


def _ledgers(connection: sa.Connection) -> dict[int, tuple[int, int, int]]:
    columns = (sa.func.sum(allocation.c[name]) for name in ("events", "merged_events", "lost_events"))
    query = sa.select(allocation.c.workflow_id, *columns).where(allocation.c.state != AllocationState.REVOKED)
    return {
        row[0]: (int(row[1]), int(row[2]), int(row[3]))
        for row in connection.execute(query.group_by(allocation.c.workflow_id))
    }


def _events(connection: sa.Connection, entity: str, *where: sa.ColumnElement[bool]) -> dict[int, int]:
    return {row.workflow_id: int(row.events) for row in counters.sums(connection, entity, ("workflow_id",), *where)}


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
    jobs, files, moving = (
        _by_state(connection, entity, only) for entity in (counters.JOB, counters.FILE, counters.TRANSFER)
    )
    small = (tally.c.state == JobState.ACCOUNTED, tally.c.type == JobType.PROCESSING)
    ledgers, unmerged = _ledgers(connection), _events(connection, counters.JOB, *small)
    delivered = _events(connection, counters.DELIVERED)
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
            delivered=delivered.get(identity, 0),
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
    for row in counters.sums(connection, counters.JOB, ("target", "state")):
        found[row.target][row.state] = int(row.number)
    site = sa.select(job.c.site).limit(1)
    sites = {
        target: connection.execute(site.where(job.c.target == target)).scalar() if target else "" for target in found
    }
    rows = (SiteJobs(site=sites[target] or "", target=target, states=states) for target, states in found.items())
    return sorted(rows, key=lambda row: (row.site, row.target))


def attempts_by_target(connection: sa.Connection) -> list[TargetAttempts]:
    """Return attempts by outcome at each target, over all time."""
    found: dict[tuple[str, str], Counts] = defaultdict(dict)
    for row in counters.sums(connection, counters.ATTEMPT, ("site", "target", "state")):
        found[row.site, row.target][row.state] = int(row.number)
    return [TargetAttempts(site=site, target=target, outcomes=found[site, target]) for site, target in sorted(found)]

"""Says which jobs a command to retry or to kill is about."""

from actors.messages import KillJobs, Refused, RetryJobs
from domain.job import JobState, JobType
from domain.retry import Tried
from storage import archives, attempts, jobs, merges, workflows
from storage.archives import Kept
from storage.engine import Connection
from storage.jobs import Job

REOPENED = (JobState.EXHAUSTED, JobState.PAUSED, JobState.COOLOFF)
"""States out of which a job is tried again on command."""


def with_archives(connection: Connection, order: RetryJobs) -> tuple[list[Job], list[Kept]]:
    found = jobs.load(connection, reopenable(connection, order))
    return found, archives.of_jobs(connection, [job.id for job in found])


def reopenable(connection: Connection, order: RetryJobs) -> list[int]:
    """Return the jobs that may be tried again. Raises Refused if all of them are out of our hands."""
    found = matching(connection, order, REOPENED)
    if order.code is not None or order.site:
        last = attempts.tried(connection, [job.id for job in found])
        found = [job for job in found if job.id in last and _ended_so(last[job.id][-1], order)]
    over = set(jobs.settled_with_manager(connection, [job.id for job in found]))
    given_up = {job.id for job in found if job.type is JobType.MERGE and job.state is JobState.EXHAUSTED}
    empty = given_up - merges.held(connection, sorted(given_up))
    chosen = sorted({job.id for job in found} - over - empty)
    if over and not chosen:
        raise Refused(
            f"jobs {sorted(over)[:10]}: their range was reported to its ProdMgr; expected a new request there"
        )
    return chosen


def _ended_so(last: Tried, order: RetryJobs) -> bool:
    return order.code in (None, last.code) and order.site in ("", last.site)


def meant(order: RetryJobs | KillJobs) -> str:
    return order.workflow or (f"request {order.request}" if order.request else str(order.jobs))


def owners(connection: Connection, order: RetryJobs | KillJobs) -> list[str]:
    """Return the workflows that a command is about. Raises Refused for one, or a request, that does not exist."""
    known = workflows.load(connection).values()
    named = [
        item.name for item in known if item.name == order.workflow or (order.request and item.request == order.request)
    ]
    if not named and (order.workflow or order.request):
        raise Refused(
            f"there is no workflow {order.workflow!r}" if order.workflow else f"there is no request {order.request!r}"
        )
    return named


def matching(connection: Connection, order: RetryJobs | KillJobs, states: tuple[JobState, ...]) -> list[Job]:
    """Return the jobs meant by a command. Raises Refused for a workflow, a request or a job that does not exist."""
    found: list[Job] = []
    for name in owners(connection, order):
        found += jobs.matching(connection, workflow_name=name, states=states, limit=1_000_000)
    if order.jobs:
        named = jobs.load(connection, order.jobs)
        if unknown := sorted(set(order.jobs) - {job.id for job in named}):
            raise Refused(f"there is no job {', '.join(map(str, unknown[:10]))}")
        found += [job for job in named if job.state in states]
    return found

"""How long a job may be at a target without progress (PA-314)."""

from typing import NamedTuple

from domain.job import JobState, JobType
from domain.spec import Stuck, WorkflowSpec


class Patience(NamedTuple):
    """The most seconds in the batch queue, and running beyond the wall time that was asked for."""

    pending_s: float
    running_s: float


class Standing(NamedTuple):
    """A job at a target: since when (UTC epoch seconds), and the seconds of wall time that it was submitted with."""

    state: JobState
    since: float
    wall_s: float


def patience(default: Patience, *overrides: Stuck | None) -> Patience:
    """Return what holds when the later of these override the earlier ones."""
    for given in overrides:
        if given is not None:
            default = Patience(given.pending_s or default.pending_s, given.running_s or default.running_s)
    return default


def shortest(spec: WorkflowSpec, default: Patience, margin_s: float) -> Patience:
    """Return the least seconds after which any job of a workflow may be overdue, pending or running."""
    each = [patience(default, spec.stuck.get(kind)) for kind in JobType]
    wall_s = spec.resources.wall_s + margin_s
    return Patience(min(one.pending_s for one in each), wall_s + min(one.running_s for one in each))


def overdue(standing: Standing, limit: Patience, now: float) -> bool:
    """Return whether a job has waited or run for too long at the time `now` (UTC epoch seconds)."""
    if standing.state is JobState.PENDING:
        return now - standing.since >= limit.pending_s
    if standing.state is JobState.RUNNING:
        return now - standing.since >= standing.wall_s + limit.running_s
    return False

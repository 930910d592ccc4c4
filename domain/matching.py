"""Match queued jobs with free capacity, and say why a job waits (PA-204, PA-206, PA-218)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.job import JobType


class Candidate(NamedTuple):
    """A queued job, in queue order. `sites` empty = any; `pinned` = the one site that holds its input."""

    id: int
    type: JobType
    sites: frozenset[str]
    pinned: str | None


class Place(NamedTuple):
    """A target that takes work: free places by job type."""

    target: str
    site: str
    free: Mapping[JobType, int]


def match(candidates: Sequence[Candidate], places: Sequence[Place]) -> dict[str, list[int]]:
    """Return the jobs to release, by target. Jobs go in queue order, each to its allowed place with most room left."""
    free = {place.target: dict(place.free) for place in places}
    released: dict[str, list[int]] = {}
    for job in candidates:
        open_to = [place for place in places if free[place.target].get(job.type, 0) > 0 and may_run(job, place.site)]
        if not open_to:
            continue
        best = max(open_to, key=lambda place: free[place.target][job.type])
        free[best.target][job.type] -= 1
        released.setdefault(best.target, []).append(job.id)
    return released


def room_for(job: Candidate, places: Sequence[Place]) -> int:
    """Return how many jobs like this one could be released now."""
    return sum(max(0, place.free.get(job.type, 0)) for place in places if may_run(job, place.site))


def may_run(job: Candidate, site: str) -> bool:
    if job.pinned is not None:
        return site == job.pinned
    return not job.sites or site in job.sites


def wait_reason(job: Candidate, enabled: Sequence[Place]) -> str:
    """Return the one code why a queued job is not released: no-site, site-down, no-slot or next-sweep."""
    if job.pinned is not None and all(place.site != job.pinned for place in enabled):
        return f"site-down: its input lies at {job.pinned}, which takes no work now"
    allowed = [place for place in enabled if may_run(job, place.site)]
    if not allowed:
        return f"no-site: none of {', '.join(sorted(job.sites)) or 'the sites'} is enabled"
    if all(place.free.get(job.type, 0) <= 0 for place in allowed):
        return f"no-slot: {', '.join(sorted(place.target for place in allowed))} full for {job.type} jobs"
    return "next-sweep: a place is free, the queue has not come to it yet"

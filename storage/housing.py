"""Whether the configuration has a place for jobs at all, be it open or not (PA-205, PA-310)."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping

import sqlalchemy as sa

from config.settings import Settings
from domain.job import JobState, JobType
from domain.matching import Candidate, Place, narrowed, nowhere
from domain.siting import Lists, demand
from domain.spec import WorkflowSpec
from storage import counters, heads, job_lists, schema
from storage.workflows import Workflow

job, job_list = schema.job, schema.job_list

NO_SITE = "no-site: "
"""How the reason of a job begins that is paused since no target may run it."""
NO_LISTS = Lists()


def housed(settings: Settings, wanted: Iterable[str]) -> bool:
    """Whether one of these sites (none named: any) exists and has a target, be it enabled or not."""
    names = list(wanted) or list(settings.sites)
    return any(name in settings.sites and settings.sites[name].targets for name in names)


def unhoused(settings: Settings, spec: WorkflowSpec, kind: JobType, pinned: str | None, own: Lists = NO_LISTS) -> str:
    """Return why no target that is configured, be it enabled or not, may run such jobs; "" if one may (PA-205, PA-310).
    `own`: the lists that a single job has."""
    asked = demand(spec, kind)
    wanted = Candidate(
        0, kind, asked.allowed, pinned, denied=asked.denied, gpus=asked.gpus, architecture=asked.architecture
    )
    places = (
        Place(name, site, {}, gpus=target.gpus, architectures=frozenset(target.architectures))
        for site, there in settings.sites.items()
        if pinned in (None, site)
        for name, target in there.targets.items()
    )
    reason = nowhere(narrowed(wanted, own), places)
    return f"{reason}; {own.words}" if reason and any(own) else reason


def stranded(
    connection: sa.Connection, settings: Settings, known: Mapping[int, Workflow], limit: int
) -> dict[str, list[int]]:
    """Return queued jobs that no target may run any more, by the reason."""
    found: dict[str, list[int]] = defaultdict(list)
    for place, _ in heads.in_states(connection, counters.JOB, [JobState.QUEUED]):
        spec = known[place.workflow_id].spec
        if reason := unhoused(settings, spec, JobType(place.type), place.site or None):
            found[reason] += heads.ids(connection, counters.JOB, [(place, limit)], limit)
    for one in job_lists.queued(connection):
        reason = unhoused(settings, known[one.workflow_id].spec, one.type, one.pinned, one.own)
        if reason and not unhoused(settings, known[one.workflow_id].spec, one.type, one.pinned):
            found[reason].append(one.id)
    return found


def rehoused(
    connection: sa.Connection, settings: Settings, known: Mapping[int, Workflow], limit: int
) -> tuple[list[int], Counter[int]]:
    """Return jobs that were paused for want of a target and have one now, and how many of each workflow go on waiting."""
    ids: list[int] = []
    left: Counter[int] = Counter()
    for place, _ in heads.in_states(connection, counters.JOB, [JobState.PAUSED]):
        spec, kind, pinned = known[place.workflow_id].spec, JobType(place.type), place.site or None
        parked = _parked_at(place)
        alike = sa.select(*_LISTS, sa.func.count()).select_from(_JOBS).where(*parked).group_by(*_LISTS)
        for allowed, denied, number in connection.execute(alike).all():
            if unhoused(settings, spec, kind, pinned, job_lists.lists(allowed, denied)):
                left[place.workflow_id] += number
            elif len(ids) < limit:
                same = (_LISTS[0].is_not_distinct_from(allowed), _LISTS[1].is_not_distinct_from(denied))
                query = sa.select(job.c.id).select_from(_JOBS).where(*parked, *same).order_by(job.c.id)
                ids += connection.execute(query.limit(limit - len(ids))).scalars()
    return ids, left


_LISTS = (job_list.c.sites, job_list.c.deny_sites)
_JOBS = job.outerjoin(job_list, job_list.c.job_id == job.c.id)


def _parked_at(place: counters.Place) -> tuple[sa.ColumnElement[bool], ...]:
    """Say which jobs are counted at a place and wait for a target."""
    return (
        job.c.workflow_id == place.workflow_id,
        job.c.state == place.state,
        job.c.type == place.type,
        job.c.pinned == place.site if place.site else job.c.pinned.is_(None),
        job.c.target == place.target if place.target else job.c.target.is_(None),
        job.c.reason.startswith(NO_SITE),
    )

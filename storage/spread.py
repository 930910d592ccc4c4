"""At which sites workflows are at the moment: read from the counters of their jobs, kept nowhere else (PA-210)."""

from collections import defaultdict
from collections.abc import Collection, Mapping

import sqlalchemy as sa

from config.settings import Settings
from domain.job import AT_TARGET, WAITING, JobState
from storage import counters, schema
from storage.workflows import Workflow

tally = schema.tally

THERE = (JobState.RELEASED, *AT_TARGET, JobState.ENDED, JobState.LOST, JobState.ACCOUNTED)
"""Jobs at a target; an accounted one has its output there until it is merged."""
BOUND = (*WAITING, JobState.FAILED)
"""Jobs at no target; a merge is bound to the site where its inputs lie all the same."""

_PLACES = counters.summing(
    counters.JOB,
    ("workflow_id", "site", "target", "state"),
    tally.c.state.in_([str(each) for each in (*THERE, *BOUND)]),
)


def matters(
    connection: sa.Connection, settings: Settings, known: Mapping[int, Workflow]
) -> dict[int, frozenset[str]] | None:
    """Return the sites that workflows use, if anything depends on it: most agents need not ask."""
    sites = settings.sites.values()
    meant = any(site.groups or any(target.groups for target in site.targets.values()) for site in sites)
    if not meant and all(flow.spec.max_sites is None for flow in known.values()):
        return None
    return used(connection, {name: at for at, site in settings.sites.items() for name in site.targets})


def used(
    connection: sa.Connection, sites: Mapping[str, str], without: Collection[str] = ()
) -> dict[int, frozenset[str]]:
    """Return the sites at which each workflow has jobs, or outputs of jobs that wait for their merge.

    `sites` is the site of each target; a target that is no longer configured counts for nothing, nor do jobs in the states
    `without`.
    """
    found: dict[int, set[str]] = defaultdict(set)
    for row in connection.execute(_PLACES):
        site = sites.get(row.target, "") if row.state in THERE else row.site
        if site and row.state not in without:
            found[row.workflow_id].add(site)
    return {owner: frozenset(names) for owner, names in found.items()}

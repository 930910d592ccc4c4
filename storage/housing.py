"""Whether the configuration has a place for jobs at all, be it open or not (PA-205, PA-310)."""

from collections.abc import Iterable

from config.settings import Settings
from domain.job import JobType
from domain.matching import Candidate, Place, nowhere
from domain.siting import demand
from domain.spec import WorkflowSpec


def housed(settings: Settings, wanted: Iterable[str]) -> bool:
    """Whether one of these sites (none named: any) exists and has a target, be it enabled or not."""
    names = list(wanted) or list(settings.sites)
    return any(name in settings.sites and settings.sites[name].targets for name in names)


def unhoused(settings: Settings, spec: WorkflowSpec, kind: JobType, pinned: str | None) -> str:
    """Return why no target that is configured, be it enabled or not, may run such jobs; "" if one may (PA-205, PA-310)."""
    asked = demand(spec, kind)
    job = Candidate(
        0, kind, asked.allowed, pinned, denied=asked.denied, gpus=asked.gpus, architecture=asked.architecture
    )
    places = (
        Place(name, site, {}, gpus=target.gpus, architectures=frozenset(target.architectures))
        for site, there in settings.sites.items()
        for name, target in there.targets.items()
    )
    return nowhere(job, places)

"""Where jobs of a workflow may run, as far as its specification says (PA-205, PA-310)."""

from collections.abc import Iterable, Iterator
from functools import reduce
from typing import NamedTuple

from domain.job import JobType
from domain.spec import WorkflowSpec


class Demand(NamedTuple):
    """The sites that are allowed (none named: all) and those that are denied, and what the node must have: so many GPUs, an
    architecture ("" = any)."""

    allowed: frozenset[str]
    denied: frozenset[str]
    gpus: int
    architecture: str


class Lists(NamedTuple):
    """The lists that a single job has beside those of its workflow: sites that are allowed (none named: as the workflow says),
    and those that are denied."""

    allowed: frozenset[str] = frozenset()
    denied: frozenset[str] = frozenset()

    def allow(self, site: str) -> bool:
        """Whether the job may be at a site, as far as these lists say."""
        return site not in self.denied and (not self.allowed or site in self.allowed)

    @property
    def words(self) -> str:
        """What they say."""
        allowed, denied = (", ".join(sorted(sites)) for sites in self)
        return f"of its own it is allowed {allowed or 'any'}, denied {denied or 'none'}"


def demand(spec: WorkflowSpec, kind: JobType) -> Demand:
    """Return what jobs of a type demand.

    The steps of a job run at one place, so a site must be allowed by all of them and denied by none. Merges go by their own
    lists: they run where their inputs lie, whatever the workflow says of processing now. They need no GPU, and the
    architecture only for a program of their own.
    """
    needs = spec.resources
    if kind is JobType.MERGE:
        own = spec.merge
        architecture = needs.architecture if own.command else None
        return Demand(frozenset(own.sites), frozenset(own.deny_sites), 0, architecture or "")
    steps = [step for step in spec.steps if step.sites or step.deny_sites]
    if not steps:
        return Demand(frozenset(spec.sites), frozenset(spec.deny_sites), needs.gpus, needs.architecture or "")
    lists = [frozenset(sites) for sites in (spec.sites, *(step.sites for step in steps)) if sites]
    denied = frozenset(spec.deny_sites).union(*(step.deny_sites for step in steps))
    allowed = reduce(frozenset.intersection, lists) if lists else frozenset()
    return Demand(allowed, denied, needs.gpus, needs.architecture or "")


def reachable(spec: WorkflowSpec, sites: Iterable[str]) -> bool:
    """Whether processing of a workflow may run at one of these sites, as far as its lists say; one without lists may anywhere."""
    asked = demand(spec, JobType.PROCESSING)
    own = Lists(asked.allowed, asked.denied)
    return not any(own) or any(map(own.allow, sites))


def named(spec: WorkflowSpec) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of every site that the specification allows or denies."""
    tables = [("", spec), *((f"steps.{step.name}.", step) for step in spec.steps), ("merge.", spec.merge)]
    for before, table in tables:
        for key in ("sites", "deny_sites"):
            yield from ((before + key, site) for site in getattr(table, key))

"""Where jobs of a workflow may run, as far as its specification says (PA-205, PA-310)."""

from collections.abc import Iterator
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


def named(spec: WorkflowSpec) -> Iterator[tuple[str, str]]:
    """Yield the key and the name of every site that the specification allows or denies."""
    tables = [("", spec), *((f"steps.{step.name}.", step) for step in spec.steps), ("merge.", spec.merge)]
    for before, table in tables:
        for key in ("sites", "deny_sites"):
            yield from ((before + key, site) for site in getattr(table, key))

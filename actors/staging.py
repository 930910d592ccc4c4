"""Says where the outputs of a job may go, and by which ways a node reaches its inputs (PA-322, PA-323)."""

from collections.abc import Sequence
from typing import Any

from actors.world import World
from domain.jobspec import MergeInput
from domain.spec import WorkflowSpec
from runtime.mover import open_mover
from storage.merges import Input

Rule = dict[str, Any]
COPIED = ("sftp", "xrootd", "http")
"""Kinds of storage whose files a node cannot open by their physical name."""


def places(world: World, site: str, spec: WorkflowSpec) -> list[str]:
    """Return the sites whose storage takes the outputs of a job at a site, the first choice first."""
    if spec.stage_out:
        return spec.stage_out
    known = world.settings.sites.get(site)
    return [site, *(known.stage_out_fallback if known is not None else [])]


def rules(world: World, site: str, spec: WorkflowSpec) -> list[Rule]:
    """Return the rules for the worker runtime (runtime/mover.py); one of another site says so in its report."""
    return [
        {**rule, "site": name} if name != site else dict(rule)
        for name in places(world, site, spec)
        for rule in world.stage_out[name]
    ]


def inputs(world: World, site: str, members: Sequence[Input]) -> list[MergeInput]:
    """Return how a node at a site reads files that lie there: in place where it has the storage mounted, else by a copy."""
    ways = [dict(rule) for rule in world.stage_out[site] if rule["kind"] in COPIED]
    mounted = not ways
    return [
        MergeInput(
            item.lfn,
            world.storages[site].pfn(item.lfn) if mounted else "",
            item.size,
            item.events,
            item.adler32,
            tuple({**rule, "pfn": open_mover(rule).pfn(item.lfn)} for rule in ways),
        )
        for item in members
    ]

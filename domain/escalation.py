"""How much more memory or time a job gets that has run out of it (PA-408)."""

from typing import NamedTuple

from domain.rules import Action
from domain.spec import Resources


class Need(NamedTuple):
    """Memory in MB (10**6 bytes) and wall time in seconds."""

    memory_mb: int
    wall_s: int


class MoreRules(NamedTuple):
    """`factor` more each time, up to the caps: memory in MB (10**6 bytes), wall time in seconds."""

    factor: float = 1.5
    memory_cap_mb: int = 16_000
    wall_cap_s: int = 172_800


def need(resources: Resources, memory_mb: int | None = None, wall_s: int | None = None) -> Need:
    """Return what a job needs: what its workflow says, unless it was given more."""
    return Need(max(resources.memory_mb, memory_mb or 0), max(resources.wall_s, wall_s or 0))


def more(action: Action, before: Need, rules: MoreRules) -> Need | None:
    """Return what the next attempt gets; None if the job has all that it may have already."""
    if action is Action.MORE_MEMORY:
        memory = min(rules.memory_cap_mb, int(before.memory_mb * rules.factor))
        return before._replace(memory_mb=memory) if memory > before.memory_mb else None
    if action is Action.MORE_TIME:
        wall = min(rules.wall_cap_s, int(before.wall_s * rules.factor))
        return before._replace(wall_s=wall) if wall > before.wall_s else None
    return before

"""How many jobs a target may hold: a fixed number, or one that grows while it swallows all it gets (PA-206, PA-208)."""

from typing import NamedTuple

SHARE = 0.2
"""Of the configured threshold, how many jobs should wait at a target."""
RUNNING = 0.75
"""Share of what is there that must run before the threshold is raised."""
MOST = 5
"""A threshold is never raised when so many times the configured one are there."""
DECAY_PER_HOUR = 0.1


class Load(NamedTuple):
    """Jobs of one type at a target: waiting (released, submitting, pending), running, ended and not yet accounted."""

    pending: int = 0
    running: int = 0
    ended: int = 0

    @property
    def released(self) -> int:
        return self.pending + self.running + self.ended


def desired(base: int, least: int, most: int) -> int:
    """Return how many jobs should wait at a target: a fifth of its threshold, at least `least`, at most `most`."""
    return min(max(least, int(SHARE * base)), most)


def hungry(load: Load, base: int, waiting: int) -> bool:
    """Whether a target runs most of what it has, and keeps fewer waiting than it should."""
    return load.pending < waiting and load.running > RUNNING * load.released and load.released < MOST * base


def threshold(current: float, base: int, load: Load, *, waiting: int, hours: float) -> float:
    """Return the threshold that follows `current` after so many hours; `waiting`: how many jobs should wait there.

    A target that is hungry gets more; any other falls back to the configured threshold by a tenth an hour.
    """
    if hungry(load, base, waiting):
        return max(current, float(load.released + waiting))
    left: float = (1.0 - DECAY_PER_HOUR) ** hours
    return max(float(base), current * left)

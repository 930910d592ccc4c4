"""Put small files into bins of the wanted size (PA-501).

Files of one workflow wait at each site, and the counters of the store say how many and how much (PA-505): only when that is
enough for a merge, or too old, are the files themselves looked at. So each is read once, when its bin goes.
"""

from collections.abc import Sequence
from typing import NamedTuple

from domain.spec import Merge


class Waiting(NamedTuple):
    """A file that waits to be merged. `order` is its first event, so that merged files hold neighbours."""

    id: int
    size: int
    events: int
    order: int
    since: float


class Load(NamedTuple):
    """What lies in a bin, or waits at one place."""

    number: int = 0
    size: int = 0
    events: int = 0

    def plus(self, file: Waiting) -> "Load":
        return Load(self.number + 1, self.size + file.size, self.events + file.events)

    def fits(self, policy: Merge) -> bool:
        """Whether this is not above a limit."""
        within_events = policy.max_events is None or self.events <= policy.max_events
        return self.size <= policy.max_bytes and within_events and self.number <= policy.max_files

    def full(self, policy: Merge) -> bool:
        """Whether this is enough for a merge: where it is not, `plan` makes no bin but for age or at the end."""
        enough_events = policy.max_events is not None and self.events >= policy.min_fraction * policy.max_events
        enough = self.size >= policy.min_fraction * policy.max_bytes or enough_events
        return enough or self.number >= policy.max_files


def plan(files: Sequence[Waiting], policy: Merge, *, now: float, flush: bool) -> list[list[int]]:
    """Return bins of file ids, each once, none above a limit except a single larger file.

    A bin goes when it is full: at least min_fraction of max_bytes, max_events or max_files, or when the next file does not
    fit. What is left stays, unless `flush` or its oldest file has waited max_wait_s: then it goes as it is.
    """
    bins: list[list[int]] = []
    current: list[Waiting] = []
    load = Load()
    for file in sorted(files, key=lambda waiting: waiting.order):
        if current and not load.plus(file).fits(policy):
            bins.append([member.id for member in current])
            current, load = [], Load()
        current.append(file)
        load = load.plus(file)
        if load.full(policy):
            bins.append([member.id for member in current])
            current, load = [], Load()
    if current and (flush or now - min(member.since for member in current) >= policy.max_wait_s):
        bins.append([member.id for member in current])
    return bins

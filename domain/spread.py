"""At how many sites a workflow is at once, and whose turn comes first at a site that is meant for some (PA-210)."""

from collections.abc import Collection, Mapping
from enum import IntEnum
from typing import NamedTuple


class Order(IntEnum):
    """In which order jobs of one rank get a place that is meant for some groups: of workflows that have jobs there already, of
    those groups, of all others."""

    THERE = 0
    MEANT = 1
    FILLER = 2


class Spread(NamedTuple):
    """The sites that a workflow uses, and how many it may use at once (None = any number); `workflow` 0: of any."""

    workflow: int
    used: frozenset[str]
    most: int | None

    @property
    def further(self) -> int | None:
        """How many further sites it may take, None = any number."""
        return None if self.most is None else max(0, self.most - len(self.used))

    @property
    def words(self) -> str:
        """Say where it is."""
        return f"its workflow is at {len(self.used)} of at most {self.most} sites ({', '.join(sorted(self.used))})"

    def takes(self, site: str) -> bool:
        """Whether it may have jobs at a site."""
        return site in self.used or self.further != 0

    def at(self, site: str) -> "Spread":
        """Return it with a further site."""
        return self._replace(used=self.used | {site})

    def most_of(self, rooms: Mapping[str, int]) -> int:
        """Return how much of the room at each site it may have, at most."""
        here = sum(room for site, room in rooms.items() if site in self.used)
        others = sorted((room for site, room in rooms.items() if site not in self.used), reverse=True)
        return here + sum(others[: self.further])


def surplus(most: int, fixed: Collection[str], loose: Mapping[str, int]) -> frozenset[str]:
    """Return the sites that a workflow has to leave to be at `most`: of those where nothing has begun, the ones where least waits.

    `fixed`: sites with jobs that stay whatever is decided; `loose`: others, with the jobs that wait there.
    """
    ranked = sorted((site for site in loose if site not in fixed), key=lambda site: (-loose[site], site))
    return frozenset(ranked[max(0, most - len(fixed)) :])

"""Guard: stops work in steps as the disk of the agent's state fills, and lets it go on when there is room (OPS-10).

At the first mark no new work is taken on or cut, at the second no job is submitted, at the third nothing is written any
more; jobs that run go on in any case. Each step ends by itself some percent below its mark.
Writes: alerts. Settings: the [disk] table.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from actors.brakes import Work
from actors.stage import Stage
from actors.world import World
from storage import alerts
from storage.errors import StoreAway
from storage.store import Tx


class Mark(NamedTuple):
    """A step: from `percent` on something is no longer done."""

    name: str
    percent: float
    level: str
    text: str


def used_percent(path: Path) -> float:
    """Return how full the file system of a directory is, as `df` counts: of what an ordinary user may use."""
    usage = shutil.disk_usage(path)
    return 100.0 * usage.used / max(1, usage.used + usage.free)


class Guard(Stage):
    used: Callable[[Path], float] = staticmethod(used_percent)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.settings = world.settings.disk
        self.path = Path(world.settings.agent.state)
        self.marks = (
            Mark("intake", self.settings.intake_percent, "warning", "no new work is taken on"),
            Mark("submission", self.settings.submit_percent, "error", "nor is any job submitted"),
            Mark("writing", self.settings.write_percent, "critical", "nor is anything written: the agent stands still"),
        )
        self.reached = 0
        """How many of the marks are reached."""
        self._told = -1
        """How many the last booked alert says; an alert of an earlier life may be open."""

    @property
    def sweep_s(self) -> float:
        return self.settings.sweep_s

    async def work(self) -> bool:
        now = self.used(self.path)
        before, self.reached = self.reached, self._reached(now)
        text = f"the disk of {self.path} is {now:.0f} % full: " + ", ".join(
            mark.text for mark in self.marks[: self.reached]
        )
        self._brake(text)
        if self.reached != before:
            self.log.warning(
                "%s", text if self.reached else f"the disk of {self.path} has room again ({now:.0f} % full)"
            )
        await self._tell(text)
        return False

    def _reached(self, now: float) -> int:
        """Count the marks that are reached; one that was reached before holds until well below it."""
        slack = self.settings.hysteresis_percent
        return sum(
            now >= mark.percent - (slack if place < self.reached else 0.0) for place, mark in enumerate(self.marks)
        )

    def _brake(self, text: str) -> None:
        brakes = self.world.brakes
        brakes.free("disk")
        if self.reached:
            brakes.hold("disk", text, *(Work.INTAKE, Work.SUBMISSION)[: self.reached])

    async def _tell(self, text: str) -> None:
        """Book what has changed; that nothing is written any more is booked just before."""
        if self.reached < len(self.marks):
            self.world.store.free()
        if self.reached != self._told:
            try:
                await self.write(lambda tx: self._book(tx, text))
                self._told = self.reached
            except StoreAway as away:
                self.log.warning("not booked: %s", away)
        if self.reached == len(self.marks):
            self.world.store.hold(text)

    def _book(self, tx: Tx, text: str) -> None:
        if self.reached:
            alerts.raise_alert(tx, self.marks[self.reached - 1].level, "disk", "state", text)
        else:
            alerts.close_alert(tx, "disk", "state")

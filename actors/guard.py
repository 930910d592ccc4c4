"""Guard: stops work in steps as the disk of the agent's state fills, and lets it go on when there is room (OPS-10).

At the first mark no new work is taken on or cut, at the second no job is submitted, at the third nothing is written any
more; jobs that run go on in any case. Each step ends by itself some percent below its mark. A class of files with a quota
stops new work in the same way when it is beyond it.
Writes: alerts. Settings: the [disk] table.
"""

import asyncio
import contextlib
import os
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


def used_bytes(place: Path) -> int:
    """Return what the files below a directory take on their disk; what disappears meanwhile is not counted."""
    total = 0
    for directory, _, names in os.walk(place):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(directory, name)).st_blocks * 512
    return total


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
        places = {
            "state": self.path,
            "sandboxes": self.path / "sandboxes",
            "archives": self.path / "archives",
            "scratch": self.path / "scratch",
            "backups": Path(world.settings.backup.directory),
        }
        self.classes = [(name, places[name], quota * 1e9) for name, quota in self.settings.quotas_gb.items()]
        self.beyond: frozenset[str] | None = None
        """The classes that are beyond their quota; None before the first look."""
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
        if self.classes and self.reached < len(self.marks):
            await self._hold_to_quotas()
        return False

    async def _hold_to_quotas(self) -> None:
        beyond: dict[str, str] = {}
        for name, place, quota in self.classes:
            held = await asyncio.to_thread(used_bytes, place)
            slack = self.settings.hysteresis_percent / 100.0 if name in (self.beyond or ()) else 0.0
            if held > quota * (1.0 - slack):
                size, most = held / 1e9, quota / 1e9
                beyond[name] = (
                    f"{name} in {place} take {size:.3g} GB, their quota is {most:.3g}: no new work is taken on"
                )
        self.world.brakes.free("quota")
        if beyond:
            self.world.brakes.hold("quota", "; ".join(beyond.values()), Work.INTAKE)
        if beyond.keys() != self.beyond:
            await self.write(lambda tx: self._book_quotas(tx, beyond))
            self.beyond = frozenset(beyond)

    def _book_quotas(self, tx: Tx, beyond: dict[str, str]) -> None:
        for name, _, _ in self.classes:
            if name in beyond:
                alerts.raise_alert(tx, "warning", "disk-quota", name, beyond[name])
            else:
                alerts.close_alert(tx, "disk-quota", name)

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

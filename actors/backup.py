"""Backup: takes snapshots of the store while it is at work (OPS-16).

Each is consistent, checked and rotated; the sandboxes of workflows are kept beside them. The writer is not stopped.
Writes: alerts. Settings: the [backup] table.
"""

import asyncio

from actors.stage import Stage
from actors.world import World
from storage import alerts, log
from storage.backup import Backups, rotate, snapshots
from storage.errors import StoreAway, StoreError
from storage.store import Tx

AGAIN_S = 60.0
"""Time before a snapshot that could not be taken is tried again, in seconds."""


class Backup(Stage):
    def __init__(self, world: World, backups: Backups) -> None:
        super().__init__(world)
        self.settings = world.settings.backup
        self.backups = backups
        self._holds: int | None = None
        """The last fact in the newest snapshot; None: not known."""
        self._not_before = 0.0

    @property
    def sweep_s(self) -> float:
        return min(AGAIN_S, self.settings.every_s)

    async def work(self) -> bool:
        now = self.clock.time()
        last = await self.store.read(log.last)
        if last == self._holds or self.clock.monotonic() < self._not_before:
            return False
        found = snapshots(self.backups.directory)
        age = now - found[0].at if found else float("inf")
        if 0 <= age < self.settings.every_s:
            return False
        try:
            made = await asyncio.to_thread(self.backups.take, now)
            rotate(self.backups.directory, self.settings.keep_last, self.settings.keep_days)
        except (StoreAway, StoreError, OSError) as error:
            await self._failed(error, age)
            return False
        self._holds = last
        self.log.info("snapshot %s, %d bytes", made.path, made.size)
        await self.write(_well)
        return False

    async def _failed(self, error: Exception, age: float) -> None:
        self._not_before = self.clock.monotonic() + AGAIN_S
        self.log.error("no snapshot: %s", error)
        late = age > self.settings.late_s
        told = "there is none" if age == float("inf") else f"the newest is {age / 60:.0f} minutes old"
        text = f"the store has no new snapshot, {told}: {error}"
        await self.write(lambda tx: alerts.raise_alert(tx, "error" if late else "warning", "backup", "store", text))


def _well(tx: Tx) -> None:
    alerts.close_alert(tx, "backup", "store")

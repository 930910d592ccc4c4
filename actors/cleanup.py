"""Cleanup: deletes small files whose events are safe elsewhere, and closes the books of jobs of which nothing is left.

The right to delete is granted in a transaction that checks the evidence; only then is storage touched (PA-513).
Woken by: merged files in the catalogue, arrived transfers, invalidated files. Writes: FilesRemoving, FilesRemoved,
FileRemovalsFailed, JobsCleaned. Settings: the [cleanup] table.
"""

from collections import defaultdict

from actors.stage import Stage
from backends.storage_element.base import StorageError
from domain.events import FilesCatalogued, FilesInvalidated, TransfersSafe
from storage import removals
from storage.removals import Removal
from storage.store import Tx


class Cleanup(Stage):
    woken_by = (FilesCatalogued, TransfersSafe, FilesInvalidated)

    @property
    def sweep_s(self) -> float:
        return self.world.settings.cleanup.sweep_s

    async def work(self) -> bool:
        batch = self.world.settings.cleanup.batch
        granted = await self.write(lambda tx: removals.grant(tx, batch))
        by_site: dict[str, list[Removal]] = defaultdict(list)
        for removal in await self.store.read(lambda c: removals.granted(c, batch)):
            by_site[removal.site].append(removal)
        for site, listed in by_site.items():
            await self._delete(site, listed)
        cleaned = await self.write(lambda tx: removals.clean_jobs(tx, batch))
        return len(granted) == batch or len(cleaned) == batch

    async def _delete(self, site: str, listed: list[Removal]) -> None:
        storage = self.world.storages.get(site)
        if storage is None:
            self.log.error("site %s is no longer configured; %d files wait to be deleted there", site, len(listed))
            return
        gone: list[int] = []
        refused: dict[str, list[int]] = defaultdict(list)
        for removal in listed:
            try:
                await storage.delete(removal.lfn)
                gone.append(removal.id)
            except StorageError as error:
                refused[str(error)].append(removal.id)

        def book(tx: Tx) -> None:
            removals.removed(tx, gone)
            for reason, ids in refused.items():
                removals.refused(tx, ids, self.world.settings.cleanup.tries, reason)

        await self.write(book)

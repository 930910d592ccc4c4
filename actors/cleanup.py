"""Cleanup: deletes small files whose events are safe elsewhere, what useless attempts wrote, and closes the books of jobs of
which nothing is left.

The right to delete is granted in a transaction that checks the evidence; only then is storage touched (PA-513).
Woken by: merged files in the catalogue, arrived transfers, invalidated files. Writes: FilesRemoving, FilesRemoved,
FileRemovalsFailed, JobsCleaned. Persists: archives of attempts (actors/keeping.py). Settings: the [cleanup] and [archives]
tables.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from itertools import starmap

from actors import staging
from actors.keeping import Keeping, keeping
from actors.stage import Stage
from actors.world import World
from backends.storage_element.base import StorageError
from domain import events as e
from domain import jobspec
from domain.events import FilesCatalogued, FilesInvalidated, TransfersSafe
from storage import archives, attempts, removals, workflows
from storage.removals import Answer, Removal

PAGES = 20
"""Pages that are looked at in vain before the next sweep: what waits for its delivery is many, and moves by itself."""


class Cleanup(Stage):
    emits = (e.FilesRemoving, e.FilesRemoved, e.FileRemovalsFailed, e.JobsCleaned)
    woken_by = (FilesCatalogued, TransfersSafe, FilesInvalidated)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._files_after = self._jobs_after = 0
        self._pages = 0
        self._keeping = keeping(world)
        self._swept = False

    @property
    def sweep_s(self) -> float:
        return self.world.settings.cleanup.sweep_s

    async def work(self) -> bool:
        batch = self.world.settings.cleanup.batch
        files_after, jobs_after = self._files_after, self._jobs_after
        granted = await self.write(lambda tx: removals.grant(tx, batch, files_after))
        by_site: dict[str, list[Removal]] = defaultdict(list)
        for removal in await self.store.read(lambda c: removals.granted(c, batch)):
            by_site[removal.site].append(removal)
        for raised in await asyncio.gather(*starmap(self._delete, by_site.items()), return_exceptions=True):
            if raised is not None:
                raise raised
        await self._left_over(batch)
        cleaned = await self.write(lambda tx: removals.clean_jobs(tx, batch, jobs_after))
        self._files_after, self._jobs_after = granted.after, cleaned.after
        if self._keeping is not None:
            await self._keep_house(self._keeping, batch)
        self._pages = 0 if granted.moved or cleaned.moved else self._pages + 1
        more = bool(granted.after or cleaned.after) and self._pages < PAGES
        if not more:
            self._pages = 0
        return more

    async def _keep_house(self, keeping: Keeping, batch: int) -> None:
        """Remove archives whose time is over, and once in a life those that nobody booked."""
        try:
            if not self._swept:
                if strays := await keeping.sweep():
                    self.log.info("%d volumes that nobody booked are removed", strays)
                self._swept = True
            while old := await keeping.old(batch):
                gone = await keeping.remove(old)
                await self.write(partial(archives.forget, ids=gone))
                if len(gone) < len(old) or len(old) < batch:
                    break
        except OSError as error:
            self.log.warning("archives: %s", error)

    async def _left_over(self, batch: int) -> None:
        """Delete what attempts may have written whose output counts for nothing: failed, refused, killed or lost ones.

        What those wrote that a restored snapshot knew may have been delivered before the store was lost, so it is looked for
        everywhere: its events are made again under another name.
        """
        left = await self.store.read(lambda c: attempts.unused(c, batch))
        if not left:
            return
        if self._keeping is not None:
            await self._keep_the_rest(self._keeping, [item.id for item in left])
        known = await self.store.read(workflows.load)
        names = {
            item.id: jobspec.output_names(known[item.workflow_id].spec, item.job_id, item.type, item.token)
            for item in left
        }
        every = [name for listed in names.values() for name in listed]
        kept = await self.store.read(lambda c: removals.registered(c, every))
        gone = [
            item.id
            for item in left
            if await self._deleted(
                sorted(self.world.storages)
                if item.anywhere
                else staging.places(self.world, item.site, known[item.workflow_id].spec),
                [name for name in names[item.id] if name not in kept],
            )
        ]
        await self.write(lambda tx: attempts.forgotten(tx, gone))

    async def _keep_the_rest(self, keeping: Keeping, attempt_ids: list[int]) -> None:
        """Keep failed attempts that left no report: lost ones, refused ones."""
        lacking = await keeping.lacking(attempt_ids)
        if not lacking:
            return
        try:
            made = await keeping.keep(lacking)
        except OSError as error:
            self.log.warning("%d failures are not archived: %s", len(lacking), error)
        else:
            await self.write(lambda tx: archives.note(tx, made))

    async def _deleted(self, sites: Sequence[str], names: list[str]) -> bool:
        """Whether none of the names is left in the storage of these sites; one that was never there counts as gone."""
        try:
            for site in sites:
                if site in self.world.storages:
                    for name in names:
                        await self.world.storages[site].delete(name)
        except StorageError as error:
            self.log.warning("left over at %s: %s", site, error)
            return False
        return True

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
        await self.write_together(removals.answered_all, Answer(gone, refused, self.world.settings.cleanup.tries))

"""Reconcile: finds out, after a snapshot was restored, what the world has done since it was taken (REL-06).

Attempts that the books do not know are ended, at each target before anything is submitted there; then the storages are
compared with the books, and files that nobody knows are named, or removed if the restore was told so. Nothing is guessed: what
cannot be proven stands in the report.
Writes: the report of the restore, alerts; JobsLost and JobsFailed for attempts that are gone; what has their
jobs and those of deleted small files run again. Settings: tracker.call_deadline_s.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from actors.brakes import Work
from actors.stage import Stage
from actors.world import World
from backends.batch.base import BatchError, BatchState
from backends.storage_element.base import StorageError
from domain import events as e
from domain.exit_codes import ABSENT
from domain.job import JobState
from storage import alerts, attempts, restoring
from storage.attempts import Failure
from storage.laws import copies
from storage.restoring import Restoration, Unproven
from storage.store import Tx

PAGE = 500
"""Names looked up in one question."""


class Reconcile(Stage):
    emits = (
        e.JobsLost, e.JobsFailed, e.JobsKilled, e.JobsRequeued, e.JobsExhausted, e.FilesReturned, e.FilesInvalidated,
    )  # fmt: skip

    def __init__(self, world: World, restored: Restoration) -> None:
        super().__init__(world)
        self.restored = restored
        self._targets = {name: site for name, (site, _) in world.targets().items()}
        self._open: set[str] = set(self._targets)
        self._ended: dict[str, set[str]] = {}
        self._gone: dict[str, set[str]] = {}
        self._done = False
        self._hold()

    def _hold(self) -> None:
        """Submit nothing anywhere, and take on nothing, until it is known what runs there: before any other actor starts."""
        reason = f"the store was restored from {self.restored.snapshot}; what has happened since is being found out"
        self.world.brakes.hold("restore", reason, Work.INTAKE)
        for target in self._targets:
            self.world.brakes.hold("restore", reason, Work.SUBMISSION, target=target)

    async def work(self) -> bool:
        if self._done:
            return False
        for target in sorted(self._open):
            try:
                async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
                    quiet = await self._quiet(target)
            except (BatchError, TimeoutError) as error:
                await self._silent(target, error)
                continue
            if quiet:
                self._open.discard(target)
                self.world.brakes.free("restore", target)
                await self.write(partial(alerts.close_alert, code="restore", subject=target))
        if not self._open:
            await self._settle()
        return False

    async def _quiet(self, target: str) -> bool:
        """End the attempts that the books do not know; return whether none of them is left alive."""
        batch = self.world.batches[target]
        await batch.open()
        poll = await batch.poll("")
        tokens = [status.token for status in poll.statuses]
        unknown = set(await self.store.read(lambda c: restoring.strangers(c, tokens)))
        self._ended.setdefault(target, set()).update(unknown)
        alive = [s.token for s in poll.statuses if s.token in unknown and s.state is not BatchState.ENDED]
        if alive:
            self.log.warning("target %s: %d attempts that the books do not know are being ended", target, len(alive))
            await batch.cancel(alive)
            return False
        if unknown:
            await batch.clean(sorted(unknown))
        await self._make_again(target)
        return True

    async def _make_again(self, target: str) -> None:
        """Close the attempts on record that the target does not know any more: they ended, and were cleaned up, since."""
        live = await self.store.read(lambda c: attempts.live_at(c, target))
        asked = {
            token: owner for token, (owner, state) in live.items() if state in (JobState.PENDING, JobState.RUNNING)
        }
        found = await self.world.batches[target].find(list(asked)) if asked else {}
        gone = {token: owner for token, owner in asked.items() if token not in found}
        text = f"not known to {target} after the store was restored"
        failures = [Failure(owner, ABSENT, text) for owner in gone.values()]

        def book(tx: Tx) -> None:
            attempts.lost(tx, list(gone.values()), text)
            attempts.fail(tx, failures, outcome="lost", reason="lost")

        if gone:
            await self.write(book)
            self._gone.setdefault(target, set()).update(gone)

    async def _silent(self, target: str, error: Exception) -> None:
        text = (
            f"after the restore nothing is submitted to {target} until it says what runs there: {error or 'no answer'}"
        )
        await self.write(lambda tx: alerts.raise_alert(tx, "error", "restore", target, text))

    async def _settle(self) -> None:
        unknown: dict[str, list[str]] = {}
        missing: dict[str, list[str]] = {}
        unseen: dict[str, str] = {}
        removed = 0
        for site in sorted(self.world.storages):
            try:
                if found := await self._unknown(site):
                    unknown[site] = found
                if self.restored.remove_unknown:
                    removed += await self._remove(site, found)
                if lost := await self._missing(site):
                    missing[site] = lost
                    await self.write(lambda tx, site=site, lost=lost: restoring.make_again(tx, site, lost))  # type: ignore[misc]
            except StorageError as error:
                unseen[site] = str(error)
        ended, gone = (
            {target: sorted(tokens) for target, tokens in found.items() if tokens}
            for found in (self._ended, self._gone)
        )
        report = Unproven(ended=ended, gone=gone, unknown=unknown, removed=removed, missing=missing, unseen=unseen)
        text = f"restored from {self.restored.snapshot}: {report.text}; `db report` names them"
        self.log.warning("%s", text)

        def settle(tx: Tx) -> None:
            restoring.settle(tx, self.restored, report)
            for target in self._targets:
                alerts.close_alert(tx, "restore", target)
            alerts.raise_alert(tx, "warning", "restore", "store", text)

        await self.write(settle)
        self.world.brakes.free("restore")
        self._done = True

    async def _unknown(self, site: str) -> list[str]:
        """Return the published files that neither are on record nor come from an attempt that is."""
        listed = [lfn for lfn, _ in await self.world.storages[site].list("/store")]
        found: list[str] = []
        for start in range(0, len(listed), PAGE):
            part = listed[start : start + PAGE]
            found += await self.store.read(lambda c, part=part: copies.nobodys(c, site, part))  # type: ignore[misc]
        return found

    async def _remove(self, site: str, lfns: Sequence[str]) -> int:
        return sum([await self.world.storages[site].delete(lfn) for lfn in lfns])

    async def _missing(self, site: str) -> list[str]:
        """Return the copies on record that are not there."""
        sizes = dict(await self.world.storages[site].list("/store"))
        found: list[str] = []
        after = 0
        while page := await self.store.read(lambda c, after=after: copies.copies(c, after, PAGE)):  # type: ignore[misc]
            found += [copy.lfn for copy in page if copy.site == site and copy.lfn not in sizes]
            after = page[-1].replica_id
        return found

"""Merge: puts small files that lie at one site into merge jobs there.

Woken by: new small files, files that came back, jobs that were given up or killed, ranges cut to the end.
Writes: JobsCreated (merge), FilesUnderMerge. Settings: merge.sweep_s, merge.batch, the workflow's [merge] table.
"""

from actors.stage import Stage
from domain.events import AllocationsCut, FilesReturned, JobsExhausted, JobsKilled, UnmergedRegistered
from domain.merging import Waiting, plan
from storage import merges, workflows
from storage.engine import Connection
from storage.moves import StaleState
from storage.workflows import Workflow

TOGETHER = 50
"""Most merge jobs made in one transaction."""
Found = dict[tuple[int, str], list[Waiting]]


class Merge(Stage):
    woken_by = (UnmergedRegistered, FilesReturned, JobsExhausted, JobsKilled, AllocationsCut)

    @property
    def sweep_s(self) -> float:
        return self.world.settings.merge.sweep_s

    async def work(self) -> bool:
        batch = self.world.settings.merge.batch
        waiting, known, over = await self.store.read(lambda c: _look(c, batch))
        for (workflow_id, site), files in waiting.items():
            await self._plan(known[workflow_id], site, files, flush=workflow_id in over)
        return False

    async def _plan(self, workflow: Workflow, site: str, files: list[Waiting], *, flush: bool) -> None:
        bins = plan(files, workflow.spec.merge, now=self.clock.time(), flush=flush)
        for start in range(0, len(bins), TOGETHER):
            await self._create(workflow, site, bins[start : start + TOGETHER])

    async def _create(self, workflow: Workflow, site: str, bins: list[list[int]]) -> None:
        try:
            await self.write(lambda tx: merges.create_all(tx, workflow.id, site, bins, workflow.spec.priority))
        except StaleState as error:
            self.log.info("merges at %s are planned anew: %s", site, error)


def _look(connection: Connection, batch: int) -> tuple[Found, dict[int, Workflow], set[int]]:
    """Return the waiting files, the workflows, and which of these make no more files, all at one instant."""
    waiting = merges.waiting(connection, batch)
    owners = {owner for owner, _ in waiting}
    known = workflows.load(connection) if waiting else {}
    return waiting, known, {owner for owner in owners if workflows.processing_over(connection, owner)}

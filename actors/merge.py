"""Merge: puts small files that lie at one site into merge jobs there.

Woken by: new small files, files that came back, jobs that were given up or killed, ranges cut to the end.
Writes: JobsCreated (merge), FilesUnderMerge. Settings: merge.sweep_s, merge.batch, the workflow's [merge] table.
"""

from actors.stage import Stage
from domain.events import AllocationsCut, FilesReturned, JobsExhausted, JobsKilled, UnmergedRegistered
from domain.merging import Waiting, plan
from storage import merges, workflows
from storage.moves import StaleState
from storage.workflows import Workflow


class Merge(Stage):
    woken_by = (UnmergedRegistered, FilesReturned, JobsExhausted, JobsKilled, AllocationsCut)

    @property
    def sweep_s(self) -> float:
        return self.world.settings.merge.sweep_s

    async def work(self) -> bool:
        batch = self.world.settings.merge.batch
        waiting = await self.store.read(lambda c: merges.waiting(c, batch))
        if not waiting:
            return False
        known = await self.store.read(workflows.load)
        for (workflow_id, site), files in waiting.items():
            await self._plan(known[workflow_id], site, files)
        return False

    async def _plan(self, workflow: Workflow, site: str, files: list[Waiting]) -> None:
        flush = await self.store.read(lambda c: workflows.processing_over(c, workflow.id))
        for members in plan(files, workflow.spec.merge, now=self.clock.time(), flush=flush):
            await self._create(workflow, site, members)

    async def _create(self, workflow: Workflow, site: str, members: list[int]) -> None:
        try:
            await self.write(lambda tx: merges.create(tx, workflow.id, site, members, workflow.spec.priority))
        except StaleState as error:
            self.log.info("merge at %s planned anew: %s", site, error)

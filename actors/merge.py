"""Merge: puts small files that lie at one site into merge jobs there.

The counters say where enough waits; only there are files read (PA-505). How long the oldest has waited is asked once a sweep.
Woken by: new small files, files that came back, jobs that were given up or killed, ranges cut to the end.
Writes: JobsCreated (merge), FilesUnderMerge. Settings: merge.sweep_s, merge.batch, the workflow's [merge] table.
"""

from actors.stage import Stage
from actors.world import World
from domain import events as e
from domain.events import AllocationsCut, FilesReturned, JobsExhausted, JobsKilled, UnmergedRegistered
from domain.merging import plan
from storage import merges, workflows
from storage.engine import Connection
from storage.merges import Gathering
from storage.moves import StaleState
from storage.workflows import Workflow

TOGETHER = 50
"""Most merge jobs made in one transaction."""


class Merge(Stage):
    emits = (e.JobsCreated, e.FilesUnderMerge)
    woken_by = (UnmergedRegistered, FilesReturned, JobsExhausted, JobsKilled, AllocationsCut)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._ages_at = 0.0

    @property
    def sweep_s(self) -> float:
        return self.world.settings.merge.sweep_s

    async def work(self) -> bool:
        ages = self.clock.monotonic() >= self._ages_at
        if ages:
            self._ages_at = self.clock.monotonic() + self.sweep_s
        now = self.clock.time()
        ripe, known, over = await self.store.read(lambda c: _look(c, now, ages=ages))
        more = False
        for gathering in ripe:
            owner = known[gathering.workflow_id]
            more = await self._gather(owner, gathering.site, flush=gathering.workflow_id in over) or more
        return more

    async def _gather(self, workflow: Workflow, site: str, *, flush: bool) -> bool:
        """Make merge jobs of what waits at a site; True = more waits there than was looked at."""
        policy = workflow.spec.merge
        most = self.world.settings.merge.batch + policy.max_files
        files = await self.store.read(lambda c: merges.waiting(c, workflow.id, site, most))
        cut_short = len(files) == most
        bins = plan(files, policy, now=self.clock.time(), flush=flush and not cut_short)
        for start in range(0, len(bins), TOGETHER):
            await self._create(workflow, site, bins[start : start + TOGETHER])
        return cut_short

    async def _create(self, workflow: Workflow, site: str, bins: list[list[int]]) -> None:
        try:
            await self.write(lambda tx: merges.create_all(tx, workflow.id, site, bins, workflow.spec.priority))
        except StaleState as error:
            self.log.info("merges at %s are planned anew: %s", site, error)


def _look(connection: Connection, now: float, *, ages: bool) -> tuple[list[Gathering], dict[int, Workflow], set[int]]:
    """Return where something may be merged, the workflows, and which of these make no more files, all at one instant."""
    found = merges.gatherings(connection)
    known = workflows.load(connection) if found else {}
    owners = {gathering.workflow_id for gathering in found}
    over = {owner for owner in owners if workflows.processing_over(connection, owner)}

    def ripe(gathering: Gathering) -> bool:
        owner, site, load = gathering
        policy = known[owner].spec.merge
        if owner in over or load.full(policy):
            return True
        since = merges.oldest(connection, owner, site) if ages else None
        return since is not None and now - since >= policy.max_wait_s

    return [gathering for gathering in found if ripe(gathering)], known, over

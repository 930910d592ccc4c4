"""Merge: puts small files that lie at one site into merge jobs there.

The counters say where enough waits; only there are files read (PA-505). How long the oldest has waited is asked once a sweep.
Woken by: new small files, files that came back, jobs that were given up or killed, ranges cut to the end.
Writes: JobsCreated (merge), FilesUnderMerge. Settings: merge.sweep_s, merge.batch, the workflow's [merge] table.
"""

from typing import NamedTuple

from actors.stage import Stage
from actors.world import World
from domain import events as e
from domain.events import AllocationsCut, FilesReturned, JobsExhausted, JobsKilled, UnmergedRegistered
from domain.merging import Waiting, plan
from storage import merges, workflows
from storage.engine import Connection
from storage.merges import Gathering, Planned
from storage.moves import StaleState
from storage.workflows import Workflow

TOGETHER = 100
"""Most merge jobs made in one transaction."""


class Look(NamedTuple):
    """What may be merged at one instant: places with the files that were read there (the first ones), the workflows, and which
    of these make no more files; `more`: further places wait."""

    found: list[tuple[Gathering, list[Waiting]]]
    known: dict[int, Workflow]
    over: set[int]
    more: bool


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
        look = await self.store.read(lambda c: self._read(c, self.clock.time(), ages=ages))
        planned = [one for place, files in look.found for one in self._plan(look, place, files)]
        for start in range(0, len(planned), TOGETHER):
            await self._create(planned[start : start + TOGETHER])
        return look.more or any(self._cut_short(look, *one) for one in look.found)

    def _read(self, connection: Connection, now: float, *, ages: bool) -> Look:
        """Read files where something may be merged until it is enough for one go: where less than a merge waits and its time has
        come, which is little, then where most waits."""
        ripe, known, over = _ripe(connection, now, ages=ages)
        found: list[tuple[Gathering, list[Waiting]]] = []
        room = self.world.settings.merge.batch
        for place in sorted(ripe, key=lambda one: (one.load.full(known[one.workflow_id].spec.merge), -one.load.number)):
            if room > 0:
                most = self._most(known[place.workflow_id])
                found.append((place, merges.waiting(connection, place.workflow_id, place.site, most)))
                room -= len(found[-1][1])
        return Look(found, known, over, len(found) < len(ripe))

    def _most(self, workflow: Workflow) -> int:
        """Return how many files of a workflow are read at one place."""
        return self.world.settings.merge.batch + workflow.spec.merge.max_files

    def _cut_short(self, look: Look, place: Gathering, files: list[Waiting]) -> bool:
        """Whether more may wait at a place than was read."""
        return len(files) == self._most(look.known[place.workflow_id])

    def _plan(self, look: Look, place: Gathering, files: list[Waiting]) -> list[Planned]:
        spec = look.known[place.workflow_id].spec
        flush = place.workflow_id in look.over and not self._cut_short(look, place, files)
        bins = plan(files, spec.merge, now=self.clock.time(), flush=flush)
        return [Planned(place.workflow_id, place.site, spec.priority, members) for members in bins]

    async def _create(self, planned: list[Planned]) -> None:
        """Make them all; if a file was taken meanwhile, each alone, so that only its own merge is planned anew."""
        try:
            await self.write(lambda tx: merges.create_all(tx, planned))
        except StaleState as error:
            if len(planned) == 1:
                self.log.info("a merge at %s is planned anew: %s", planned[0].site, error)
                return
            for one in planned:
                await self._create([one])


def _ripe(connection: Connection, now: float, *, ages: bool) -> tuple[list[Gathering], dict[int, Workflow], set[int]]:
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

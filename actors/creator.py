"""Job creator: cuts allocations into jobs, a window ahead of the sites and never further (PA-119).

Woken by: new ranges, released jobs, resumed workflows. Writes: JobsCreated, AllocationsCut.
Settings: agent.window, the limits of the targets.
"""

from actors.brakes import Work
from actors.stage import Stage
from domain import events as e
from domain.allocation import AllocationState
from domain.events import AllocationsAcquired, JobsReleased, WorkflowsResumed
from domain.job import JobType
from domain.splitting import cut
from domain.workflow import WorkflowState
from storage import allocations, housing, jobs, overrides, workflows
from storage.allocations import Allocation
from storage.engine import Connection
from storage.workflows import Workflow

BATCH = 1000
"""Most jobs made in one transaction."""


class Creator(Stage):
    emits = (e.JobsCreated, e.AllocationsCut)
    woken_by = (AllocationsAcquired, JobsReleased, WorkflowsResumed)

    async def _window(self) -> int:
        """Return how many jobs may wait per workflow."""
        settings = await self.store.read(lambda c: overrides.beside(c, self.world.settings))
        targets = (target for site in settings.sites.values() for target in site.targets.values())
        return max(1, settings.agent.window * sum(target.limits.processing for target in targets))

    async def work(self) -> bool:
        if self.world.brakes.held(Work.INTAKE):
            return False
        active = await self.store.read(lambda c: workflows.load(c, WorkflowState.ACTIVE))
        more = False
        window = await self._window() if active else 0
        for owner in await self.store.read(lambda c: allocations.load(c, AllocationState.ACTIVE)):
            if owner.workflow_id in active:
                more = await self._cut(owner, active[owner.workflow_id], window) or more
        return more

    async def _cut(self, owner: Allocation, workflow: Workflow, window: int) -> bool:
        room = window - await self.store.read(lambda c: self._ahead(c, workflow))
        if room <= 0:
            return False
        pieces = list(cut(owner.range, workflow.spec.events_per_job, done=owner.cut_events, limit=min(room, BATCH)))
        made = await self.write(lambda tx: jobs.create(tx, owner, workflow.spec, pieces))
        return len(made) == BATCH

    def _ahead(self, connection: Connection, workflow: Workflow) -> int:
        """Return how many jobs wait; parked ones count where no site may take any, since all others would be parked too."""
        waiting = jobs.waiting_count(connection, workflow.id)
        if housing.unhoused(self.world.settings, workflow.spec, JobType.PROCESSING, None):
            waiting += jobs.parked_count(connection, workflow.id)
        return waiting

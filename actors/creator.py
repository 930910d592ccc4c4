"""Job creator: cuts allocations into jobs, a window ahead of the sites and never further (PA-119).

Woken by: new ranges, released jobs, resumed workflows. Writes: JobsCreated, AllocationsCut.
Settings: agent.window, the limits of the targets.
"""

from actors.brakes import Work
from actors.stage import Stage
from domain import events as e
from domain.allocation import AllocationState
from domain.events import AllocationsAcquired, JobsReleased, WorkflowsResumed
from domain.splitting import cut
from domain.workflow import WorkflowState
from storage import allocations, jobs, workflows
from storage.allocations import Allocation
from storage.workflows import Workflow

BATCH = 1000
"""Most jobs made in one transaction."""


class Creator(Stage):
    emits = (e.JobsCreated, e.AllocationsCut)
    woken_by = (AllocationsAcquired, JobsReleased, WorkflowsResumed)

    @property
    def window(self) -> int:
        """How many jobs may wait per workflow."""
        places = sum(target.limits.processing for _, target in self.world.targets().values())
        return max(1, self.world.settings.agent.window * places)

    async def work(self) -> bool:
        if self.world.brakes.held(Work.INTAKE):
            return False
        active = await self.store.read(lambda c: workflows.load(c, WorkflowState.ACTIVE))
        more = False
        for owner in await self.store.read(lambda c: allocations.load(c, AllocationState.ACTIVE)):
            if owner.workflow_id in active:
                more = await self._cut(owner, active[owner.workflow_id]) or more
        return more

    async def _cut(self, owner: Allocation, workflow: Workflow) -> bool:
        room = self.window - await self.store.read(lambda c: jobs.waiting_count(c, workflow.id))
        if room <= 0:
            return False
        pieces = list(cut(owner.range, workflow.spec.events_per_job, done=owner.cut_events, limit=min(room, BATCH)))
        made = await self.write(lambda tx: jobs.create(tx, owner, workflow.spec, pieces))
        return len(made) == BATCH

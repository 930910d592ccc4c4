"""Queue: admits jobs, wakes those whose back-off is over, and gives them to targets with free places.

Woken by: new and requeued jobs, jobs that end or fail (a place is free), resumed workflows.
Writes: JobsQueued, JobsPaused (no site), JobsRequeued, JobsReleased, JobsReturned.
Settings: queue.sweep_s, queue.lease_s, the limits of the targets.
"""

from actors.brakes import Work
from actors.messages import Wake
from actors.stage import Stage
from domain import events as e
from domain.events import (
    JobsCooledOff,
    JobsCreated,
    JobsEnded,
    JobsKilled,
    JobsRequeued,
    JobsReturned,
    JobsRevoked,
    WorkflowsResumed,
)
from domain.job import JobState, JobType, rank
from domain.matching import Candidate, Place, match, room_for
from domain.workflow import WorkflowState
from storage import jobs, workflows
from storage.heads import Standing
from storage.jobs import Job
from storage.store import Tx
from storage.workflows import Workflow

BATCH = 1000
"""Most jobs looked at in one go."""


class Queue(Stage):
    emits = (e.JobsQueued, e.JobsPaused, e.JobsRequeued, e.JobsReleased, e.JobsReturned)
    woken_by = (
        JobsCreated,
        JobsRequeued,
        JobsReturned,
        JobsEnded,
        JobsKilled,
        JobsRevoked,
        JobsCooledOff,
        WorkflowsResumed,
    )

    @property
    def sweep_s(self) -> float:
        return self.world.settings.queue.sweep_s

    async def work(self) -> bool:
        known = await self.store.read(workflows.load)
        admitted = await self._admit(known)
        await self._wake()
        released = await self._release(known)
        await self.write(lambda tx: jobs.take_back(tx, self.world.settings.queue.lease_s))
        return admitted or released == BATCH

    async def _admit(self, known: dict[int, Workflow]) -> bool:
        new = await self.store.read(lambda c: jobs.oldest(c, JobState.NEW, BATCH))
        if not new:
            return False
        homeless = [job.id for job in new if not self._has_site(job, known[job.workflow_id])]
        housed = [job.id for job in new if job.id not in set(homeless)]

        def admit(tx: Tx) -> None:
            jobs.admit(tx, housed)
            jobs.pause(tx, homeless, "no-site: none of its sites has a batch target")

        await self.write(admit)
        return len(new) == BATCH

    def _has_site(self, job: Job, workflow: Workflow) -> bool:
        wanted = [job.pinned] if job.pinned else workflow.spec.sites or list(self.world.settings.sites)
        return any(site in self.world.settings.sites and self.world.settings.sites[site].targets for site in wanted)

    async def _wake(self) -> None:
        due = await self.store.read(jobs.next_wake)
        if due is None:
            return
        if due > self.clock.time():
            self.after(due - self.clock.time(), Wake(), key="back-off")
        else:
            await self.write(jobs.wake)

    async def _release(self, known: dict[int, Workflow]) -> int:
        places = await self._places()
        if self.world.brakes.held(Work.SUBMISSION) or not any(
            free > 0 for place in places for free in place.free.values()
        ):
            return 0
        open_to = await self._open_to(known, places)
        if not open_to:
            return 0
        head = await self.store.read(lambda c: jobs.queue_head(c, open_to, BATCH))
        candidates = [
            Candidate(job.id, job.type, frozenset(known[job.workflow_id].spec.sites), job.pinned) for job in head
        ]
        chosen = match(candidates, places)
        site_of = {place.target: place.site for place in places}

        def release(tx: Tx) -> int:
            return sum(len(jobs.release(tx, ids, site_of[target], target)) for target, ids in chosen.items())

        return await self.write(release) if chosen else 0

    async def _open_to(self, known: dict[int, Workflow], places: list[Place]) -> list[tuple[int, Standing, int]]:
        """Return of which queued jobs some may go now: their queue rank, where they are counted, and how many may go."""
        found = []
        for standing in await self.store.read(jobs.queued):
            workflow, kind = known.get(standing.place.workflow_id), JobType(standing.place.type)
            if workflow is None or workflow.state is WorkflowState.PAUSED:
                continue
            sites, pinned = frozenset(workflow.spec.sites), standing.place.site or None
            room = room_for(Candidate(0, kind, sites, pinned), places)
            if room:
                found.append((rank(kind, workflow.spec.priority), standing, room))
        return found

    async def _places(self) -> list[Place]:
        load = await self.store.read(jobs.loads)
        return [
            Place(
                name,
                site,
                {
                    JobType.PROCESSING: target.limits.processing - load[name, JobType.PROCESSING],
                    JobType.MERGE: target.limits.merge - load[name, JobType.MERGE],
                },
            )
            for name, (site, target) in self.world.targets().items()
            if target.enabled
            and self.world.settings.sites[site].enabled
            and not self.world.brakes.held(Work.SUBMISSION, name)
        ]

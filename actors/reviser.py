"""Reviser: gives workflows new versions of their specifications, and takes back what waits and does not fit them any more.

A new version counts at once for all that has no attempt yet. What waits in a batch queue at a place that it may not go to any more,
or with resources that are asked for no longer, is withdrawn as when a site goes down: no retry is burnt (PA-216). What runs stays.
The version stays open in the store until nothing is left to withdraw, so a restart in the middle loses nothing.
Takes: ReviseWorkflow. Woken by: WorkflowRevised. Writes: WorkflowRevised, JobsReturned, JobsWithdrawn. Settings: queue.sweep_s.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from actors import curves
from actors.messages import Refused, Revised, ReviseWorkflow, Wake
from actors.stage import Stage
from config.faults import nearest
from domain import events as e
from domain import siting
from domain.events import WorkflowRevised
from domain.job import JobState
from domain.matching import may_run
from domain.revising import asks_anew, differences, revised
from domain.spec import WorkflowSpec
from domain.spread import surplus
from domain.workflow import WorkflowState
from storage import housing, jobs, revisions, sites, spread, workflows
from storage.engine import Connection
from storage.revisions import Waiting
from storage.sites import Picture
from storage.store import Tx
from storage.workflows import Workflow

BATCH = 1000
"""Most jobs taken back in one transaction."""
AGAIN_S = 1.0
"""Time between two looks while a submission is on its way that may not fit, in seconds."""
LOOSE = (JobState.RELEASED, JobState.PENDING)
"""Jobs that can be taken back."""


class Reviser(Stage):
    emits = (e.WorkflowRevised, e.JobsReturned, e.JobsWithdrawn)
    woken_by = (WorkflowRevised,)

    @property
    def sweep_s(self) -> float:
        return self.world.settings.queue.sweep_s

    async def on_command(self, message: Any) -> Any:
        if isinstance(message, ReviseWorkflow):
            return await self._revise(message)
        return await super().on_command(message)

    async def _revise(self, order: ReviseWorkflow) -> Revised:
        flow = await self._workflow(order.workflow)
        spec = revised(flow.spec, order.revision)
        changes = differences(flow.spec, spec)
        if not changes:
            raise Refused(f"workflow {flow.name!r}: nothing changes; expected another value than it has")
        self._check_sites(flow, spec)
        new = flow._replace(spec=spec)
        back = len(await self.store.read(lambda c: self._unfit(c, new, [(flow.spec, self.clock.time())])))
        if order.dry_run:
            known = await self.store.read(lambda c: revisions.versions(c, flow.id))
            return Revised(version=len(known) + 1 if known else 2, changes=changes, withdrawn=back)

        def put(tx: Tx) -> int:
            if workflows.load(tx.connection)[flow.id].spec != flow.spec:
                raise Refused(f"workflow {flow.name!r} was changed meanwhile; expected to be asked again")
            return revisions.put(tx, flow, spec, order.who, order.reason, changes)

        version = await self.write(put)
        self.actor_ref.tell(Wake(), unique=True)
        return Revised(version=version, changes=changes, withdrawn=back)

    async def _workflow(self, name: str) -> Workflow:
        known = {flow.name: flow for flow in (await self.store.read(workflows.load)).values()}
        if name not in known:
            near = nearest(name, known)
            raise Refused(f"there is no workflow {name!r}" + (f"; did you mean {near!r}?" if near else ""))
        if known[name].state in (WorkflowState.COMPLETED, WorkflowState.ABORTED):
            raise Refused(f"workflow {name!r} is {known[name].state}; expected one that is active or paused")
        return known[name]

    def _check_sites(self, flow: Workflow, spec: WorkflowSpec) -> None:
        """Refuse sites that are not ours; a ProdMgr's workflow may name those of other agents beside ours."""
        ours = self.world.settings.sites
        before = {name for _, name in siting.named(flow.spec)}
        strange = [(key, name) for key, name in siting.named(spec) if name not in ours and name not in before]
        for key, name in strange if not flow.manager else []:
            near = nearest(name, ours)
            hint = f"; did you mean {near!r}?" if near else f"; expected one of {', '.join(sorted(ours))}"
            raise Refused(f"{key}: no site {name!r}{hint}")
        if not housing.housed(self.world.settings, spec.sites):
            raise Refused(f"sites: none of {', '.join(spec.sites)} has a batch target here")
        curves.check(spec, self.world.curves)

    # ------------------------------------------------------------ what waits and does not fit
    async def work(self) -> bool:
        more = False
        for identity in await self.store.read(revisions.unsettled):
            more = await self._take_back(identity) or more
        return more

    async def _take_back(self, identity: int) -> bool:
        """Take back a batch of what does not fit the last version; True = there may be more."""
        found, last, on_the_way = await self.store.read(lambda c: self._judge(c, identity))
        if found:
            some = found[:BATCH]
            text = f"version {last} of its workflow"
            await self.write(lambda tx: jobs.withdraw(tx, [job.id for job in some], text))
            self.log.info("%d jobs came back: they do not fit %s", len(some), text)
            return len(found) > BATCH
        if on_the_way:
            self.after(AGAIN_S, Wake(), key="again")
        else:
            await self.write(lambda tx: revisions.settle(tx, identity, last))
        return False

    def _judge(self, connection: Connection, identity: int) -> tuple[list[Waiting], int, bool]:
        """Return what does not fit the last version, its number, and whether a submission of before is on its way."""
        known = revisions.versions(connection, identity)
        before = [(old.spec, new.at) for old, new in pairwise(known) if new.open]
        flow = workflows.load(connection)[identity]
        since = max(at for _, at in before)
        waiting = revisions.waiting(connection, identity)
        on_the_way = any(
            job.state is JobState.SUBMITTING and job.asked_at is not None and job.asked_at <= since for job in waiting
        )
        return self._unfit(connection, flow, before), known[-1].version, on_the_way

    def _unfit(
        self, connection: Connection, flow: Workflow, before: Sequence[tuple[WorkflowSpec, float]]
    ) -> list[Waiting]:
        """Return jobs that have not begun and do not fit; `before`: specifications with the times when they ended to count."""
        loose = [job for job in revisions.waiting(connection, flow.id) if job.state in LOOSE]
        record = sites.record(connection, self.world.settings, self.clock.time())
        picture = sites.survey(connection, self.world.settings, {flow.id: flow}, self.clock.time(), record)
        asked_before = max((at for spec, at in before if asks_anew(spec, flow.spec)), default=0.0)
        left = self._left(connection, flow, loose)
        return [
            job
            for job in loose
            if (job.asked_at is not None and job.asked_at <= asked_before)
            or (job.pinned is None and job.site in left)
            or not _may_go(picture, flow, job)
        ]

    def _left(self, connection: Connection, flow: Workflow, loose: Sequence[Waiting]) -> frozenset[str]:
        """Return the sites that it has to leave for `max_sites`."""
        if flow.spec.max_sites is None:
            return frozenset()
        at = {name: site for name, (site, _) in self.world.targets().items()}
        fixed = spread.used(connection, at, LOOSE).get(flow.id, frozenset())
        fixed |= {job.site for job in loose if job.pinned is not None}
        free = Counter(job.site for job in loose if job.pinned is None)
        return surplus(flow.spec.max_sites, fixed, free)


def _may_go(picture: Picture, flow: Workflow, job: Waiting) -> bool:
    """Whether a job may be where it is, as far as its specification says."""
    wanted = sites.candidate(picture, job.id, job.type, flow, job.pinned)._replace(spread=None)
    here = [place for place in picture.places if place.target == job.target]
    return all(
        may_run(wanted, place) and place.has(wanted) and place.equips(wanted) and place.meant_for(wanted)
        for place in here
    )

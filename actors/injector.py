"""Injector: takes on workflows and says when they are complete.

Takes: SubmitWorkflow, HoldWorkflow. Woken by: allocations that are done or reported, transfers that arrived.
Writes: WorkflowsAdded, AllocationsAcquired (for a workflow of its own, without a manager), WorkflowsPaused, WorkflowsResumed,
AllocationsReported (own workflows: nobody to tell), WorkflowsCompleted.
Settings: events.sweep_s.
"""

from typing import Any

from actors import curves
from actors.brakes import Work
from actors.messages import Changed, HoldWorkflow, Refused, Submitted, SubmitWorkflow
from actors.stage import Stage
from domain import events as e
from domain import siting
from domain.controls import Kind, Scope
from domain.events import AllocationsDone, AllocationsReported, AllocationsRevoked, TransfersCancelled, TransfersSafe
from domain.job import JobType
from domain.ranges import Range
from domain.spec import WorkflowSpec
from domain.splitting import generated_events
from storage import allocations, braking, controls, housing, workflows
from storage.store import Tx
from storage.workflows import NameTaken


class Injector(Stage):
    emits = (
        e.WorkflowsAdded,
        e.WorkflowsPaused,
        e.WorkflowsResumed,
        e.WorkflowsCompleted,
        e.AllocationsAcquired,
        e.AllocationsReported,
    )
    woken_by = (AllocationsDone, AllocationsReported, AllocationsRevoked, TransfersSafe, TransfersCancelled)

    async def on_command(self, message: Any) -> Any:
        match message:
            case SubmitWorkflow():
                return await self._submit(message)
            case HoldWorkflow():
                return await self._hold(message)
        return await super().on_command(message)

    async def _submit(self, order: SubmitWorkflow) -> Submitted:
        spec = order.spec
        self._check_places(spec, others_too=bool(order.manager))
        curves.check(spec, self.world.curves)
        name = order.name or spec.name
        events = generated_events(spec)
        jobs = -(-events // spec.events_per_job)
        if order.dry_run:
            return Submitted(workflow=0, name=name, new=True, events=events, jobs=jobs)
        if reason := self.world.brakes.held(Work.INTAKE):
            raise Refused(f"no new work is taken on now: {reason}")
        sandbox = self.world.sandboxes.put(order.sandbox)

        def take_on(tx: Tx) -> tuple[int, bool]:
            added = workflows.add(
                tx, spec, name=name, sandbox=sandbox, events=events, manager=order.manager, request=order.request
            )
            if added[1] and not order.manager:
                allocations.acquire(tx, added[0], f"local:{name}", Range(spec.first_event, events))
            return added

        try:
            identity, new = await self.write(take_on)
        except NameTaken as error:
            raise Refused(str(error)) from None
        return Submitted(workflow=identity, name=name, new=new, events=events, jobs=jobs)

    def _check_places(self, spec: WorkflowSpec, *, others_too: bool) -> None:
        """Refuse places that are not ours; a ProdMgr's workflow (`others_too`) may name sites of other agents beside ours."""
        sites = self.world.configured.sites
        known = ", ".join(sorted(sites))
        named = [] if others_too else siting.named(spec)
        for key, name in (
            *named,
            *(("deliver_to", name) for name in spec.deliver_to),
            *(("stage_out", name) for name in spec.stage_out),
        ):
            if name not in sites:
                raise Refused(f"{key}: no site {name!r}; expected one of {known}")
        if spec.sites and not any(name in sites and sites[name].targets for name in spec.sites):
            raise Refused(f"sites: none of {', '.join(spec.sites)} has a batch target here")
        reason = housing.unhoused(self.world.configured, spec, JobType.PROCESSING, None) if others_too else ""
        if reason:  # another agent may run it; what nobody else has is parked until a list or a site changes
            raise Refused(reason)

    async def _hold(self, order: HoldWorkflow) -> Changed:
        def hold(tx: Tx) -> list[int]:
            moved = workflows.hold(tx, order.workflow, hold=order.hold, reason=order.reason, dry_run=order.dry_run)
            if order.dry_run:
                return moved
            if not order.hold:
                braking.released(tx, moved, self.world.settings.errors.probes)
            for_a_time = controls.lift(tx, Scope.WORKFLOW, order.workflow, Kind.HOLD)  # this word is the last one
            return moved or ([workflows.named(tx.connection, order.workflow)] if for_a_time else [])

        try:
            return Changed(ids=await self.write(hold))
        except LookupError as error:
            raise Refused(str(error.args[0])) from None

    async def work(self) -> bool:
        await self.write(workflows.settle_own)
        for name in await self.write(workflows.complete_finished):
            self.log.info("workflow %s is complete", name)
        return False

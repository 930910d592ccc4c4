"""A store with steward, reviser and queue over it: who may run where, without any batch system."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from actors.feed import Feed
from actors.messages import (
    ControlsChanged,
    LiftControl,
    LimitSet,
    Revised,
    ReviseWorkflow,
    SetControl,
    SetLimit,
    Wake,
)
from actors.queue import Queue
from actors.reviser import Reviser
from actors.steward import Steward
from actors.world import World
from config.settings import Settings
from domain.job import JobState
from domain.ranges import Range
from domain.revising import Revision
from domain.spec import Step, WorkflowSpec
from storage import alerts, allocations, attempts, jobs, workflows
from storage.sandboxes import Sandboxes
from storage.store import Store
from storage.why import why
from supervisors import ActorRef, ActorSystem, ChildSpec, SupervisorSpec

SITES = {
    name: {"storage": {"kind": "posix"}, "targets": {f"{name}-batch": {"kind": "local", "limits": {"processing": 4}}}}
    for name in ("alps", "bern")
}
J = JobState


class HandClock:
    now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


class Place:
    """A store with steward, reviser and queue over it; `sites` may differ from one life to the next."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.clock = HandClock()
        self.world: Any = None
        self.system: Any = None

    @asynccontextmanager
    async def life(self, sites: dict[str, Any] = SITES, **tables: Any) -> AsyncIterator["Place"]:
        store = await Store.open(f"sqlite:///{self.directory}/agent.db", clock=self.clock)
        settings = msgspec.convert({"agent": {"name": "here"}, "sites": sites, **tables}, Settings)
        self.world = World(settings, store, self.clock, Sandboxes(self.directory), {}, {}, {}, {})
        children: tuple[ChildSpec, ...] = (
            ChildSpec("steward", partial(Steward, self.world)),
            ChildSpec("reviser", partial(Reviser, self.world)),
            ChildSpec("queue", partial(Queue, self.world)),
        )
        if settings.feed.source:
            children = (ChildSpec("feed", partial(Feed, self.world)), *children)
        self.system = ActorSystem(SupervisorSpec("root", children), clock=self.clock)
        await self.system.start()
        try:
            yield self
        finally:
            await self.system.stop(drain=0)
            await store.close()

    def ref(self, name: str) -> ActorRef[Any]:
        return self.system.ref(name)

    async def look(self) -> None:
        """Have all do what the rows ask for now."""
        for name in ("steward", "reviser", "queue", "steward", "queue"):
            await self.ref(name).ask(Wake())

    async def say(self, scope: str, *subjects: str, kind: str = "hold", **more: Any) -> list[str]:
        order = SetControl(
            scope=scope, subjects=list(subjects), kind=kind, **{"reason": "a look", "who": "ann", **more}
        )
        answer: ControlsChanged = await self.ref("steward").ask(order)
        await self.look()
        return answer.subjects

    async def change(self, workflow: str = "w", *, dry_run: bool = False, **changes: Any) -> Revised:
        """Give a workflow a new version."""
        order = ReviseWorkflow(
            workflow=workflow, revision=Revision(**changes), reason="a look", who="ann", dry_run=dry_run
        )
        answer: Revised = await self.ref("reviser").ask(order)
        await self.look()
        return answer

    async def mode(self, value: str, subject: str = "alps", **more: Any) -> list[str]:
        return await self.say("site", subject, kind="mode", value=value, **more)

    async def limit(self, value: int | None = None, limit: str = "processing", **more: Any) -> LimitSet:
        order = SetLimit(target="alps-batch", limit=limit, value=value, who="ann", reason="a look", **more)
        answer: LimitSet = await self.ref("steward").ask(order)
        await self.look()
        return answer

    async def lift(self, scope: str, *subjects: str, kind: str = "hold") -> list[str]:
        answer: ControlsChanged = await self.ref("steward").ask(
            LiftControl(scope=scope, subjects=list(subjects), kind=kind, who="ann")
        )
        await self.look()
        return answer.subjects

    async def add(self, name: str = "w", count: int = 3, request: str = "", **spec: Any) -> list[int]:
        """Make jobs of a new workflow and let the queue look at them."""
        made = WorkflowSpec(name=name, events=count * 10, events_per_job=10, steps=[Step(command=["true"])], **spec)
        manager = "m" if request else ""

        def unit(tx: Any) -> list[int]:
            owner, _ = workflows.add(
                tx, made, name=name, sandbox="", events=made.events, manager=manager, request=request
            )
            part = allocations.acquire(tx, owner, f"{name}/1", Range(1, made.events))
            (found,) = allocations.by_id(tx.connection, [part])
            return jobs.create(tx, found, made, [Range(1 + 10 * n, 10) for n in range(count)])

        ids = await self.world.store.write(unit)
        await self.look()
        return ids

    async def states(self, ids: Sequence[int]) -> Counter[str]:
        return Counter(str(job.state) for job in await self.load(ids))

    async def load(self, ids: Sequence[int]) -> list[jobs.Job]:
        return await self.world.store.read(lambda c: jobs.load(c, ids))

    async def submit(self, ids: list[int], site: str = "alps") -> None:
        target = f"{site}-batch"
        tokens = {identity: f"t{identity}-{self.clock.now}" for identity in ids}
        await self.world.store.write(lambda tx: attempts.intend(tx, ids, site, target, tokens))
        await self.world.store.write(lambda tx: attempts.submitted(tx, dict.fromkeys(ids, "b")))

    async def why(self, subject: object) -> Any:
        settings, now = self.world.settings, self.clock.now
        return await self.world.store.read(lambda c: why(c, str(subject), settings, now))

    async def alerts(self) -> dict[str, str]:
        return {alert.code: alert.text for alert in await self.world.store.read(alerts.open_alerts)}

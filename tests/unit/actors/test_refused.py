"""A job that asks for more than a target gives: from the submitter's call to a person's `retry`, over a real store (PA-310)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from actors.error import Error
from actors.messages import Changed, RetryJobs, Wake
from actors.queue import Queue
from actors.submitter import Submitter
from actors.world import World
from backends.batch.base import BatchState, JobDescription, Verdict
from backends.batch.scheduler import Limits
from backends.batch.simulated import SimulatedBatch
from backends.batch.simulated_model import SimulatedSettings
from config.settings import Settings
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, ChildSpec, SupervisorSpec
from tests.unit.actors.ruling import J, Place

pytestmark = pytest.mark.feature("PA-310")

TARGETS = ("short", "long")
SITES = {
    "alps": {
        "storage": {"kind": "posix"},
        "targets": {name: {"kind": "simulated", "limits": {"processing": 9}} for name in TARGETS},
    }
}


class Narrow(SimulatedBatch):
    """A simulated cluster with limits for a single job; `refusals` counts what it would not take."""

    limits = Limits()
    refusals = 0

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        refused = {job.token: text for job in jobs if (text := self.limits.refusal(job))}
        self.refusals += len(refused)
        taken = {one.token: one for one in await super().submit([job for job in jobs if job.token not in refused])}
        return [
            taken.get(job.token) or Verdict(token=job.token, accepted=False, reason=refused[job.token]) for job in jobs
        ]


class Crowded(SimulatedBatch):
    """A simulated cluster where an account may have so many jobs; as Slurm does, it takes an array whole or not at all."""

    quota = 13
    asked: ClassVar[list[int]] = []

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        self.asked.append(len(jobs))
        there = sum(one.state is not BatchState.ENDED for one in (await self.poll("")).statuses)
        if there + len(jobs) <= self.quota:
            return await super().submit(jobs)
        text = "QOSMaxSubmitJobPerUserLimit"
        return [Verdict(token=job.token, accepted=False, reason=text, transient=True) for job in jobs]


class Town(Place):
    """A place with error, queue and a submitter for each target."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.batches: dict[str, Any] = {name: Narrow(SimulatedSettings(slots=9), clock=self.clock) for name in TARGETS}

    async def start(self, sites: dict[str, Any] = SITES) -> None:
        store = await Store.open(f"sqlite:///{self.directory}/agent.db", clock=self.clock)
        settings = msgspec.convert({"agent": {"name": "here"}, "sites": sites}, Settings)
        boxes = Sandboxes(self.directory)
        self.world = World(settings, store, self.clock, boxes, self.batches, {}, {"alps": []}, {})
        submitters = (ChildSpec(name, partial(Submitter, self.world, name)) for name in self.batches)
        children = (
            ChildSpec("error", partial(Error, self.world)),
            ChildSpec("queue", partial(Queue, self.world)),
            *submitters,
        )
        self.system = ActorSystem(SupervisorSpec("root", children), clock=self.clock)
        await self.system.start()

    async def look(self) -> None:
        for _ in range(4):
            for name in ("error", "queue", *self.batches):
                await self.ref(name).ask(Wake())


async def test_another_queue_of_the_site_takes_what_one_refuses_and_what_all_refuse_waits_for_a_person(
    tmp_path: Path,
) -> None:
    town = Town(tmp_path)
    town.batches["short"].limits = Limits(wall_s=4 * 3600)
    town.batches["long"].limits = Limits(memory_mb=8000)
    await town.start()
    try:
        long = await town.add("long", resources={"wall_s": 9 * 3600})
        assert {str(job.target) for job in await town.load(long)} == {"long"}
        assert await town.states(long) == {J.PENDING: 3}
        huge = await town.add("huge", resources={"wall_s": 9 * 3600, "memory_mb": 9000})
        assert await town.states(huge) == {J.PAUSED: 3}
        verdict = await town.why(huge[0])
        assert "says: over the limit of the target: " in verdict.text
        assert verdict.owner == "operator"
        assert await town.states(await town.add("small")) == {J.PENDING: 3}, "the rest goes on"
        assert await town.alerts() == {}
        refusals = town.batches["long"].refusals
        assert refusals == 3, "each job was refused there once"

        town.batches["long"].limits = Limits(memory_mb=9000)
        answer: Changed = await town.ref("error").ask(RetryJobs(workflow="huge"))
        await town.look()
        assert answer.ids == huge
        assert await town.states(huge) == {J.PENDING: 3}
    finally:
        await town.system.stop(drain=0)
        await town.world.store.close()


@pytest.mark.feature("PA-309", "REL-04")
async def test_a_quota_that_is_smaller_than_a_call_is_filled_all_the_same(tmp_path: Path) -> None:
    """Forty jobs go to an account that may have thirteen: a call that is always as large would never get one in."""
    town = Town(tmp_path)
    town.batches = {"short": Crowded(SimulatedSettings(slots=40, run_s=1e6), clock=town.clock)}
    one = {"kind": "simulated", "limits": {"processing": 40}}
    await town.start({"alps": {"storage": {"kind": "posix"}, "targets": {"short": one}}})
    try:
        jobs = await town.add("w", count=40)
        for _ in range(12):
            town.clock.now += 301.0
            await town.look()
        assert (await town.states(jobs))[J.PENDING] == 13
        assert [text for text in (await town.alerts()).values() if "QOSMaxSubmitJobPerUserLimit" in text]
        assert Crowded.asked[:3] == [40, 20, 10]
    finally:
        await town.system.stop(drain=0)
        await town.world.store.close()

"""The drainer: nothing new begins, the word holds over a restart, and what is under way is counted down."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from actors.brakes import Work
from actors.drainer import Drainer
from actors.messages import AskDrain, Drain
from actors.world import World
from domain.exit_codes import STAGE_OUT
from storage import attempts
from storage.attempts import Failure
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorRef, ActorSystem, ChildSpec, SupervisorSpec
from tests.unit.admin import filled


class HandClock:
    """Goes forward only when a test says so."""

    now = 1_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@asynccontextmanager
async def drainer(directory: Path, clock: HandClock) -> AsyncIterator[tuple[World, ActorRef]]:
    store = await Store.open(filled.url(directory), clock=clock)
    world = World(
        settings=filled.settings(directory),
        store=store,
        clock=clock,
        sandboxes=Sandboxes(directory),
        batches={},
        storages={},
        stage_out={},
        managers={},
    )
    system = ActorSystem(SupervisorSpec("root", (ChildSpec("drainer", partial(Drainer, world)),)), clock=clock)
    await system.start()
    try:
        yield world, system.ref("drainer")
    finally:
        await system.stop()
        await store.close()


@pytest.mark.feature("OPS-12")
async def test_it_holds_over_a_restart_until_it_is_resumed(tmp_path: Path) -> None:
    clock = HandClock()
    async with drainer(tmp_path, clock) as (world, ref):
        would = await ref.ask(Drain(on=True, dry_run=True))
        assert (would.since, world.brakes.held(Work.INTAKE)) == (0.0, "")
        state = await ref.ask(Drain(on=True, reason="downtime"))
        assert (state.since, state.reason, state.left, state.eta_s) == (clock.now, "downtime", 0, 0.0)
        assert world.brakes.held(Work.INTAKE) == world.brakes.held(Work.SUBMISSION) == "downtime"
    async with drainer(tmp_path, clock) as (world, ref):
        assert world.brakes.held(Work.SUBMISSION) == "downtime"
        state = await ref.ask(Drain(on=False))
        assert (state.since, world.brakes.held(Work.SUBMISSION)) == (0.0, "")
    async with drainer(tmp_path, clock) as (world, ref):
        assert world.brakes.held(Work.INTAKE) == ""


@pytest.mark.feature("OPS-12")
async def test_blockers_are_named_and_the_pace_gives_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    async with drainer(tmp_path, clock) as (world, ref):
        await world.store.write(filled.fill)
        state = await ref.ask(Drain(on=True))
        assert state.left == sum(blocker.jobs for blocker in state.blockers) > 2
        assert {blocker.state for blocker in state.blockers} <= {"submitting", "pending", "running", "ended"}
        assert {blocker.target for blocker in state.blockers} == {"alpha-batch"}
        assert state.eta_s is None, "nothing has ended yet: nothing can be said"
        await world.store.write(lambda tx: attempts.fail(tx, [Failure(15, STAGE_OUT, "full", "")]))
        clock.now += 60.0
        after = await ref.ask(AskDrain())
        assert after.left == state.left - 1
        assert after.eta_s == pytest.approx(60.0 * after.left)

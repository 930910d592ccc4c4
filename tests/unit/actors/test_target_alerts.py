"""A target that does not answer: submitter and tracker each have an alert of their own, closed at the first answer in any life."""

import logging
from pathlib import Path

import pytest

from actors.messages import Wake
from actors.world import World
from domain.breaker import BreakerState, state_of
from domain.controls import Scope
from domain.matching import shut
from storage import alerts, breakers, sites, workflows
from tests.unit.actors.one_target import TARGET, Mute, life
from tests.unit.actors.ruling import HandClock


async def open_codes(world: World) -> set[str]:
    return {alert.code for alert in await world.store.read(alerts.open_alerts)}


@pytest.mark.feature("PA-214", "REL-04")
async def test_each_has_its_own_alert_and_closes_it_after_a_restart(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "prodagent.actor.tracker")
    clock, batch = HandClock(), Mute()
    async with life(tmp_path, clock, batch) as (world, system):
        for _ in range(6):
            clock.now += 301.0
            for name in ("submitter", "tracker"):
                await system.ref(name).ask(Wake())
        assert await open_codes(world) == {"submission-silent", "status-silent", "slots-unknown", "breaker-open"}
        told = [one.message for one in caplog.records if "does not say how its jobs are" in one.message]
        assert len(told) == 1, "a target that is away for a week is no reason to fill the disk"
        known = await world.store.read(breakers.load)
        assert state_of(known[Scope.TARGET, TARGET], clock.now) is BreakerState.OPEN
    batch.away = False
    async with life(tmp_path, clock, batch) as (world, system):
        for name in ("submitter", "tracker"):
            await system.ref(name).ask(Wake())
        assert await open_codes(world) == {"breaker-open"}
        known = await world.store.read(breakers.load)
        assert state_of(known[Scope.TARGET, TARGET], clock.now) is BreakerState.HALF_OPEN, "it answers: probes may go"


@pytest.mark.feature("PA-217", "PA-218")
async def test_what_is_free_at_a_target_counts_for_a_while_without_an_answer(tmp_path: Path) -> None:
    clock, batch = HandClock(), Mute()

    async def free(world: World) -> dict[str, str]:
        known = await world.store.read(workflows.load)
        past = await world.store.read(lambda c: sites.record(c, world.settings, clock.now))
        picture = await world.store.read(lambda c: sites.survey(c, world.settings, known, clock.now, past))
        return {place.target: shut(place) for place in picture.places}

    batch.away = False
    async with life(tmp_path, clock, batch) as (world, system):
        tracker = system.ref("tracker")
        await tracker.ask(Wake())
        batch.away = True
        clock.now += 599.0
        await tracker.ask(Wake())
        assert (await free(world))[TARGET] == "", "the last value, for ten minutes"
        clock.now += 2.0
        await tracker.ask(Wake())
        found = await free(world)
        assert found[TARGET].startswith(f"target-silent: target {TARGET} does not say how its jobs are: no route")
        assert found["bern-batch"] == "", "nobody else"
    async with life(tmp_path, clock, batch) as (world, system):
        await system.ref("tracker").ask(Wake())
        assert (await free(world))[TARGET], "a restart is no answer"
        batch.away = False
        await system.ref("tracker").ask(Wake())
        assert (await free(world))[TARGET] == ""

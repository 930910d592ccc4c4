"""The queue over a real store: limits, thresholds that grow, stages that are behind, choices that are kept."""

from pathlib import Path

import msgspec
import pytest

from domain.job import JobType
from storage import attempts, thresholds, workflows
from storage.attempts import Failure, Seen
from storage.sites import limits as limits_of
from tests.unit.actors.ruling import SITES, J, Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.feature("PA-209", "PA-218")
async def test_release_stops_while_reports_are_behind_and_goes_on(place: Place) -> None:
    async with place.life(queue={"backlog": 2}):
        first = await place.add(count=3, sites=["alps"])
        await place.submit(first)
        await place.world.store.write(lambda tx: attempts.ended(tx, {each: Seen("t", exit_code=0) for each in first}))
        more = await place.add("more", count=2, sites=["alps"])
        other = await place.add("other", count=2, sites=["bern"])
        assert await place.states(more) == {"queued": 2}
        assert await place.states(other) == {"released": 2}, "one target that hangs stops no other"
        found = await place.why(more[0])
        assert (found.code, found.text) == (
            "back-pressure", "3 items of alps-batch wait for report, the first for 0 s",
        )  # fmt: skip
        done = [Failure(each, 1, "x") for each in first[:2]]
        await place.world.store.write(lambda tx: attempts.fail(tx, done))
        await place.look()
        assert await place.states(more) == {"released": 2}
        assert "back-pressure" not in await place.alerts()


@pytest.mark.feature("PA-206", "PA-207", "PA-218")
async def test_cores_are_counted_and_the_wait_is_named(place: Place) -> None:
    limits = {"processing": 100, "cores": 20, "processing_pending": 10}
    sites = {"alps": {**SITES["alps"], "targets": {"alps-batch": {"kind": "local", "limits": limits}}}}
    async with place.life(sites):
        wide = await place.add("wide", count=4, resources={"cores": 8})
        assert await place.states(wide) == {"released": 2, "queued": 2}
        assert (await place.why(wide[3])).code == "quota"
        thin = await place.add("thin", count=9)
        assert await place.states(thin) == {"released": 4, "queued": 5}


@pytest.mark.feature("PA-215")
async def test_choice_and_runner_up_are_kept(place: Place) -> None:
    async with place.life():
        (identity,) = await place.add(count=1)
        query = "SELECT body FROM event WHERE type = 'JobsReleased'"
        (body,) = await place.world.store.read(lambda c: [row[0] for row in c.exec_driver_sql(query)])
        fact = msgspec.json.decode(body)
        assert fact["ids"] == [identity]
        assert fact["reason"] == "score 0.250; next was bern-batch with 0.250"


@pytest.mark.feature("PA-208")
async def test_a_dynamic_threshold_follows_what_the_target_swallows(place: Place) -> None:
    limits = {"processing": 10, "dynamic": True}
    sites = {"alps": {**SITES["alps"], "targets": {"alps-batch": {"kind": "local", "limits": limits}}}}
    async with place.life(sites):
        ids = await place.add(count=40)
        released = 0
        for _ in range(9):
            await place.look()
            ready = [job.id for job in await place.load(ids) if job.state is J.RELEASED]
            released += len(ready)
            await place.submit(ready)
            await place.world.store.write(lambda tx, ids=ready: attempts.started(tx, {each: Seen("t") for each in ids}))
        assert released == 26, "10, and two more (a fifth) each time all of them run"
        text = "alps-batch processing: 10 -> 12 (configured 10)"
        query = "SELECT arguments FROM audit WHERE verb = 'threshold'"
        told = await place.world.store.read(lambda c: [row[0] for row in c.exec_driver_sql(query)])
        assert told[0] == text
        assert len(told) == 8
        await place.world.store.write(lambda tx: attempts.ended(tx, {each: Seen("t") for each in ids[:26]}))
    async with place.life(sites):
        place.clock.now += 5 * 3600
        await place.look()
        found = await place.world.store.read(
            lambda c: [row[0] for row in c.exec_driver_sql("SELECT value FROM threshold")]
        )
        assert found == [pytest.approx(26 * 0.9**5)]
    limits["dynamic"] = False
    async with place.life(sites):
        grown = await place.world.store.read(thresholds.load)
        target = place.world.settings.sites["alps"].targets["alps-batch"]
        assert limits_of(target, grown["alps-batch"]).jobs[JobType.PROCESSING] == 10, (
            "what grew counts only while it may"
        )


@pytest.mark.feature("PA-208")
async def test_a_grown_threshold_falls_back_from_when_it_was_in_use_last(place: Place) -> None:
    """It was in full use for ten hours: the end of that takes a tenth of it in the hour after, not all of it at once."""
    limits = {"processing": 10, "dynamic": True}
    sites = SITES | {"alps": {**SITES["alps"], "targets": {"alps-batch": {"kind": "local", "limits": limits}}}}

    async def grown() -> float:
        known = await place.world.store.read(thresholds.load)
        return known["alps-batch"][JobType.PROCESSING].value

    async with place.life(sites):
        await place.mode("drain", subject="bern")
        waits = await place.add("waits", count=1, sites=["bern"])  # without any queued job there is nothing to look for
        ids = await place.add(count=12, sites=["alps"])
        for _ in range(3):
            await place.look()
            ready = [job.id for job in await place.load(ids) if job.state is J.RELEASED]
            await place.submit(ready)
            await place.world.store.write(lambda tx, ids=ready: attempts.started(tx, {each: Seen("t") for each in ids}))
        full = await grown()
        for _ in range(60):
            place.clock.now += 600.5
            await place.look()
        assert await grown() == full >= 12
        query = "SELECT count(*) FROM audit WHERE verb = 'threshold'"
        told = await place.world.store.read(lambda c: c.exec_driver_sql(query).scalar())
        await place.world.store.write(lambda tx: attempts.ended(tx, {each: Seen("t") for each in ids}))
        place.clock.now += 3600
        await place.look()
        assert await grown() == pytest.approx(full * 0.9, rel=0.03)
        assert await place.world.store.read(lambda c: c.exec_driver_sql(query).scalar()) == told + 1
        assert await place.states(waits) == {"queued": 1}


@pytest.mark.feature("PA-204")
async def test_a_match_that_nobody_takes_goes_back_after_its_lease(place: Place) -> None:
    async with place.life():
        taken, left = await place.add(count=2, sites=["alps"])
        await place.submit([taken])
        place.clock.now += 59
        await place.look()
        assert await place.states([left]) == {"released": 1}
        await place.mode("drain-processing")
        place.clock.now += 2
        await place.look()
        assert await place.states([left, taken]) == {"queued": 1, "pending": 1}
        await place.mode("enabled")
        assert await place.states([left]) == {"released": 1}


@pytest.mark.feature("PA-203")
async def test_a_workflow_that_is_held_while_the_queue_looks_is_given_nothing(place: Place, monkeypatch) -> None:
    async with place.life():
        store, read = place.world.store, place.world.store.read

        async def and_then_held(query):
            found = await read(query)
            if type(found) is tuple and len(found) == 3 and found[1]:  # what the queue knows as it begins to choose
                monkeypatch.undo()
                await store.write(lambda tx: workflows.hold(tx, "late", hold=True, reason="stop", dry_run=False))
            return found

        monkeypatch.setattr(store, "read", and_then_held)
        assert await place.states(await place.add("late", count=2)) == {"queued": 2}
        assert store.read == read, "it was held in between"

"""A limit that an operator sets counts at once, over restarts, in place of what the configuration says."""

import logging
from pathlib import Path
from typing import Any

import pytest

from actors.creator import Creator
from actors.messages import LimitSet, Refused
from domain.job import JobType
from storage import alerts, overrides, thresholds
from storage.overrides import LIMITS
from storage.thresholds import Change
from storage.views.sites import all_sites
from tests.unit.actors.ruling import SITES, Place

pytestmark = pytest.mark.feature("PA-206")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def sites(processing: int, **more: Any) -> dict[str, Any]:
    """The two sites, with another number in the file."""
    limits = {"processing": processing, **more}
    return SITES | {"alps": {**SITES["alps"], "targets": {"alps-batch": {"kind": "local", "limits": limits}}}}


async def target(place: Place) -> Any:
    found = await place.world.store.read(lambda c: all_sites(c, place.world.settings, place.clock.now))
    return found[0].targets[0]


async def test_a_limit_counts_at_once_and_over_a_restart_whatever_the_file_says(place: Place) -> None:
    async with place.life():
        assert await place.limit(2) == LimitSet(before=4, after=2, configured=4)
        ids = await place.add(count=8, sites=["alps"])
        assert await place.states(ids) == {"released": 2, "queued": 6}
        assert "full for processing jobs" in (await place.why(ids[-1])).text
    async with place.life(sites(6)):
        await place.look()
        assert await place.states(ids) == {"released": 2, "queued": 6}, "the file says 6 now, and ann's 2 holds"
        (said,) = (await target(place)).said
        assert (said.value, said.configured, said.who, said.reason, said.since) == (2, 6, "ann", "a look", 1_000_000.0)
        assert await place.limit(default=True) == LimitSet(before=2, after=6, configured=6)
        assert await place.states(ids) == {"released": 6, "queued": 2}
        assert (await target(place)).said == []
        told = await place.world.store.read(lambda c: [tuple(row) for row in c.exec_driver_sql(
            "SELECT who, verb, arguments, result FROM audit ORDER BY id"
        )])  # fmt: skip
        assert told == [
            ("ann", "limit", "alps-batch processing", "4 -> 2 (configured 4): a look"),
            ("ann", "limit", "alps-batch processing", "2 -> 6 (configured 6): a look"),
        ]


async def test_a_lower_limit_takes_nothing_back_and_a_dry_run_nothing_at_all(place: Place) -> None:
    async with place.life():
        ids = await place.add(count=5, sites=["alps"])
        assert await place.limit(0, dry_run=True) == LimitSet(before=4, after=0, configured=4)
        assert await place.world.store.read(overrides.load) == []
        await place.limit(1)
        assert await place.states(ids) == {"released": 4, "queued": 1}
        await place.limit(5)
        assert await place.states(ids) == {"released": 5}


async def test_cores_may_be_limited_and_let_go(place: Place) -> None:
    async with place.life(sites(9, cores=3)):
        ids = await place.add(count=6, sites=["alps"])
        assert await place.states(ids) == {"released": 3, "queued": 3}
        assert await place.limit(None, "cores") == LimitSet(before=3, after=None, configured=3)
        assert await place.states(ids) == {"released": 6}
    async with place.life():
        await place.limit(6, "cores")
        more = await place.add("more", count=6, sites=["alps"])
        assert await place.states(more) == {"queued": 6}


async def test_a_threshold_that_a_person_has_set_does_not_grow(place: Place) -> None:
    async with place.life(sites(4, dynamic=True)):
        grown = Change("alps-batch", JobType.PROCESSING, 4, 12, 4)
        await place.world.store.write(lambda tx: thresholds.book(tx, [grown]))
        assert (await target(place)).limits["processing"] == 12
        await place.limit(3)
        assert (await target(place)).limits["processing"] == 3
        ids = await place.add(count=5, sites=["alps"])
        assert await place.states(ids) == {"released": 3, "queued": 2}


async def test_jobs_are_cut_ahead_by_the_limit_in_force(place: Place) -> None:
    async with place.life():
        creator = Creator(place.world)
        assert await creator._window() == 5 * 8
        await place.limit(100)
        assert await creator._window() == 5 * 104


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"limit": "jobs", "value": 3}, "limit: got 'jobs', expected one of processing, merge, processing_pending"),
        ({"limit": "dynamic", "default": True}, "limit: got 'dynamic'"),
        ({"value": None}, "processing: got no limit, expected a whole number from 0 on"),
        ({"value": -1}, "processing: got -1, expected a whole number from 0 on"),
        ({"limit": "cores", "value": 0}, "cores: got 0, expected a whole number from 1 on"),
        ({"value": 10**12 + 1}, "expected at most"),
    ],
)
async def test_what_is_no_limit_is_refused(
    place: Place, order: dict[str, Any], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With one line of the log, and no traceback: nothing went wrong in the agent."""
    caplog.set_level(logging.INFO, "prodagent.actor")
    async with place.life():
        with pytest.raises(Refused, match=text):
            await place.limit(**order)
        (line,) = [record for record in caplog.records if "refuses" in record.message]
        assert (line.message.startswith("steward refuses SetLimit: "), line.exc_info) == (True, None)
        assert await place.world.store.read(overrides.load) == []
        assert await place.world.store.read(alerts.open_alerts) == []


def test_every_limit_of_the_configuration_can_be_set() -> None:
    assert LIMITS == ("processing", "merge", "processing_pending", "merge_pending", "cores", "memory_mb")

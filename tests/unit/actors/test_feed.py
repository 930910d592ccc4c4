"""A feed over a real store, with steward and queue: what it says takes effect, and its faults do not."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from actors.brakes import Work
from actors.feed import MAX_BYTES, fetched
from actors.messages import ConfirmFeed, Refused, Wake
from tests.unit.actors.ruling import SITES, Place

pytestmark = pytest.mark.feature("PA-212")
HOUR = 3600.0
THREE = {**SITES, "cern": {"storage": {"kind": "posix"}, "targets": {"cern-batch": {"kind": "local"}}}}


class Told:
    """A feed in a file, and the place that it tells of."""

    def __init__(self, directory: Path) -> None:
        self.place = Place(directory)
        self.file = directory / "feed.json"

    @property
    def table(self) -> dict[str, Any]:
        return {"file": str(self.file)}

    def write(self, *, age_s: float = 0.0, **sites: dict[str, Any]) -> None:
        self.file.write_text(json.dumps({"updated": self.place.clock.now - age_s, "sites": sites}))

    async def look(self) -> None:
        await self.place.ref("feed").ask(Wake())
        await self.place.look()

    async def says(self, *, age_s: float = 0.0, **sites: dict[str, Any]) -> None:
        self.place.clock.now += 60
        self.write(age_s=age_s, **sites)
        await self.look()

    async def modes(self) -> dict[str, str]:
        rows = await self.place.world.store.read(
            lambda c: list(c.exec_driver_sql("SELECT subject, value FROM control WHERE kind = 'mode'"))
        )
        return {row.subject: row.value for row in rows}


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


async def test_a_site_goes_down_and_comes_back_with_its_jobs(told: Told) -> None:
    place = told.place
    told.write()
    async with place.life(THREE, feed=told.table):
        ids = await place.add(sites=["alps"])
        await place.submit(ids[:1])
        await told.says(alps={"state": "down", "reason": "power cut"}, nowhere={"state": "down"})
        assert await place.states(ids) == {"queued": 3}, "what waited there is taken back"
        found = await place.why(ids[0])
        assert found.code == "site-down"
        assert "alps is in down (feed: power cut)" in found.text
        assert place.world.brakes.held(Work.SUBMISSION, "alps-batch")
    async with place.life(THREE, feed=told.table):
        assert await told.modes() == {"alps": "down"}, "over a restart"
        await told.says(alps={})
        assert await place.states(ids) == {"released": 3}
        assert await told.modes() == {}


async def test_a_feed_that_is_no_longer_asked_has_no_word_left(told: Told) -> None:
    told.write()
    async with told.place.life(THREE, feed=told.table):
        await told.says(alps={"state": "down"}, bern={"slots": 1})
        assert await told.modes() == {"alps": "down"}
    async with told.place.life(THREE):
        assert await told.modes() == {}
        assert await told.place.states(await told.place.add(sites=["alps"])) == {"released": 3}
        assert await told.place.states(await told.place.add("other", sites=["bern"])) == {"released": 3}


async def test_slots_and_software_bound_what_a_site_is_given(told: Told) -> None:
    place = told.place
    told.write(alps={"slots": 2, "releases": ["r7"]})
    async with place.life(feed=told.table):
        await told.look()
        ids = await place.add(sites=["alps"])
        assert await place.states(ids) == {"released": 2, "queued": 1}
        assert (await place.why(ids[2])).code == "quota"
        other = await place.add("other", sites=["alps"], releases=["r8"])
        assert (await place.why(other[0])).code == "no-release"
        told.file.unlink()
        await told.look()
        assert await place.states(ids) == {"released": 2, "queued": 1}, "a feed that is away changes nothing"
        await told.says(alps={"releases": ["r7", "r8"]})
        assert await place.states(ids) == {"released": 3}
        assert await place.states(other) == {"released": 1, "queued": 2}


@pytest.mark.parametrize("fault", ["old", "gone", "broken", "ahead"])
async def test_a_stale_feed_keeps_its_last_word_with_a_warning(told: Told, fault: str) -> None:
    place = told.place
    told.write()
    async with place.life(THREE, feed=told.table):
        await told.says(alps={"state": "down"})
        for hours, expected in ((1.9, False), (0.2, True)):
            place.clock.now += hours * HOUR
            match fault:
                case "old":
                    told.write(age_s=2.5 * HOUR, alps={}, bern={"state": "down"})
                case "gone":
                    told.file.unlink(missing_ok=True)
                case "broken":
                    told.file.write_text('{"updated": 1, "sites": {"alps"')
                case "ahead":
                    told.write(age_s=-2 * HOUR, alps={}, bern={"state": "down"})
            await told.look()
            assert await told.modes() == {"alps": "down"}
            assert ("feed-stale" in await place.alerts()) is expected
        assert "what it said last stays" in (await place.alerts())["feed-stale"]
        await told.says(alps={})
        assert await told.modes() == {}
        assert "feed-stale" not in await place.alerts()


async def test_an_answer_that_is_stale_when_it_is_first_seen_changes_nothing(told: Told) -> None:
    told.write()
    async with told.place.life(THREE, feed=told.table):
        await told.says(alps={"state": "down"})
    told.place.clock.now += 5 * HOUR
    told.write(age_s=2.5 * HOUR, alps={}, bern={"state": "down"})
    async with told.place.life(THREE, feed=told.table):
        await told.look()
        assert await told.modes() == {"alps": "down"}
        assert "feed-stale" in await told.place.alerts()


async def test_more_than_half_down_at_once_waits_for_a_person(told: Told) -> None:
    place, down = told.place, {"state": "down"}
    told.write()
    async with place.life(THREE, feed=told.table):
        with pytest.raises(Refused, match="no answer of the feed waits"):
            await place.ref("feed").ask(ConfirmFeed())
        await told.says(alps=down, bern=down)
        assert await told.modes() == {}
        assert "it takes 2 of 3 sites down at once: alps, bern" in (await place.alerts())["feed-doubtful"]
        await told.says(alps=down, bern={})
        assert "feed-doubtful" not in await place.alerts(), "it thought better of it"
        await told.says(alps={})
        await told.says(alps=down, bern=down, cern=down)
    async with place.life(THREE, feed=told.table):
        await told.look()
        assert await told.modes() == {}
        assert (await place.ref("feed").ask(ConfirmFeed(dry_run=True))).subjects == ["alps", "bern", "cern"]
        assert await told.modes() == {}
        await place.ref("feed").ask(ConfirmFeed(who="ann"))
        assert await told.modes() == dict.fromkeys(THREE, "down")
        assert "feed-doubtful" not in await place.alerts()
        await told.says(alps=down, bern=down, cern=down)
        assert "feed-doubtful" not in await place.alerts(), "it is confirmed"
        lines = await place.world.store.read(lambda c: list(c.exec_driver_sql("SELECT who, verb FROM audit")))
        assert ("ann", "feed") in [tuple(line) for line in lines]


async def test_what_waited_for_a_person_grows_too_old(told: Told) -> None:
    down = {"state": "down"}
    told.write()
    async with told.place.life(THREE, feed=told.table):
        await told.says(alps=down, bern=down)
        told.place.clock.now += 2.1 * HOUR
        await told.look()
        assert set(await told.place.alerts()) == {"feed-stale"}
        with pytest.raises(Refused):
            await told.place.ref("feed").ask(ConfirmFeed())


async def test_people_and_trust_stand_above_the_feed(told: Told) -> None:
    place = told.place
    told.write()
    async with place.life(THREE, feed=told.table):
        await place.mode("drain")
        await told.says(alps={"state": "down"})
        assert await told.modes() == {"alps": "drain"}
        await place.mode("enabled")
        await told.look()
        assert await told.modes() == {"alps": "down"}
        await place.say("site", "alps", kind="trust", until=place.clock.now + HOUR)
        await told.look()
        assert await told.modes() == {}
        place.clock.now += HOUR + 1
        await place.look()
        await told.says(alps={"state": "down"})
        assert await told.modes() == {"alps": "down"}


async def test_a_feed_that_says_the_same_writes_nothing(told: Told) -> None:
    told.write()
    async with told.place.life(THREE, feed=told.table):
        word = {"alps": {"state": "down", "slots": 3, "releases": ["b", "a"]}}
        await told.says(**word)
        before = await told.place.world.store.read(lambda c: list(c.exec_driver_sql("SELECT * FROM offer")))
        await told.says(**word)
        after = await told.place.world.store.read(lambda c: list(c.exec_driver_sql("SELECT * FROM offer")))
        assert before == after
        assert len(before) == 1


async def test_a_feed_at_an_address(told: Told, unused_tcp_port: int) -> None:
    status, body = 200, b'{"updated": 999999, "sites": {"alps": {"drain": true}}}'

    async def reply(_request: web.Request) -> web.Response:
        return web.Response(status=status, body=body)

    server = web.Application()
    server.router.add_get("/feed", reply)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    url = f"http://127.0.0.1:{unused_tcp_port}/feed"
    try:
        async with told.place.life(feed={"url": url}):
            await told.look()
            assert await told.modes() == {"alps": "drain"}
            status = 503
            told.place.clock.now += 3 * HOUR
            await told.look()
            assert "503" in (await told.place.alerts())["feed-stale"]
            assert await told.modes() == {"alps": "drain"}
        status, body = 200, b"x" * (MAX_BYTES + 1)
        with pytest.raises(ValueError, match="more than 10000000 bytes"):
            await fetched(url, None)
    finally:
        await runner.cleanup()

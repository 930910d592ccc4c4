"""Sites and controls as the page and the programming interface show and take them."""

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from actors.messages import ConfirmFeed, DropSite, LiftControl, PutSite, SetControl, SetLimit
from backends.channel.base import ChannelState
from backends.channel.hosts import Hosts as NoHosts
from domain.controls import Control, Kind, Scope
from domain.feed import SiteWord
from storage import alerts, breakers, controls, offers, overrides
from storage.overrides import Override
from supervisors import SystemClock
from tests.unit.admin import running
from tests.unit.admin.running import Agent


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running.running(tmp_path) as started:
        yield started


@pytest.mark.feature("PA-211", "PA-214", "OPS-06", "OPS-09")
async def test_sites_are_shown_with_what_was_said_and_found_out(agent: Agent) -> None:
    def unit(tx: Any) -> None:
        controls.put(tx, Control(Scope.SITE, "alpha", Kind.MODE, "drain-merge", "flood", "ann", tx.now, tx.now + 7000))
        controls.hold_jobs(tx, [13], "a look", "bob", None)
        for _ in range(5):
            breakers.no_answer(tx, "alpha-batch", "<b>no route</b>")

    await agent.store.write(unit)
    alpha, beta, gamma = await agent.get("/api/v1/sites")
    assert (alpha["mode"], alpha["words"], beta["enabled"], gamma["targets"]) == (
        "drain-merge",
        "ann: flood",
        False,
        [],
    )
    (target,) = alpha["targets"]
    assert (target["breaker"]["state"], alpha["breaker"]["state"]) == ("open", "closed")
    assert target["shut"].startswith("breaker-open: alpha-batch gets no jobs for")
    assert (target["limits"]["processing"], target["held"]["processing"]) == (5, 4)
    found = {one["subject"]: one for one in await agent.get("/api/v1/controls")}
    assert (found["13"]["scope"], found["13"]["author"], found["alpha"]["value"]) == ("job", "bob", "drain-merge")
    page = await agent.get("/sites")
    assert "ann: flood" in page
    assert "5 submissions in a row without an answer: &lt;b&gt;no route" in page
    assert "<b>no route" not in page
    assert (await agent.get("/api/v1/why/site:alpha"))["code"] == "breaker-open"


class Hosts(NoHosts):
    """One that shows another key than is known of it."""

    def states(self) -> list[ChannelState]:
        return [
            ChannelState(
                host="alps",
                kind="ssh",
                state="blocked",
                calls_last_hour=440,
                calls_per_hour_limit=3600,
                reason="another key",
            )
        ]


@pytest.mark.feature("PA-206", "PA-211", "PA-212", "PA-305", "OPS-09")
async def test_the_page_of_sites_has_what_a_person_has_to_know_at_once(tmp_path: Path) -> None:
    async with running.running(tmp_path, hosts=Hosts({}, SystemClock())) as agent:

        def unit(tx: Any) -> None:
            drained = Control(Scope.SITE, "alpha", Kind.MODE, "drain-processing", "flood", "ann", tx.now, tx.now + 7000)
            controls.put(tx, drained)
            overrides.put(tx, Override("alpha-batch", "cores", 64, "ann", "flood", tx.now))
            offers.put(tx, {"alpha": SiteWord(slots=400, releases=["r7"])})
            alerts.raise_alert(tx, "warning", "feed-doubtful", "feed", "it takes 2 of 2 sites down at once")
            alerts.raise_alert(tx, "warning", "disk", "state", "81 % full")

        await agent.store.write(unit)
        page = " ".join(re.sub("<[^>]*>", " ", await agent.get("/sites")).split())
        for text in (
            "feed-doubtful it takes 2 of 2 sites down at once",
            "believe the feed",
            "drain-processing ann: flood, ends in 1 h 56 min",
            "the feed says: 400 slots, software r7",
            "no processing site-drained: alpha is in drain-processing",
            "4 of 64",
            "alps blocked 440 3 600",
            "another key",
        ):
            assert text in page.replace("\u202f", " ").replace("\xa0", " ")
        assert "81 % full" not in page, "that is none of a site"
        (target,) = (await agent.get("/api/v1/sites"))[0]["targets"]
        assert (target["shut"], list(target["closed"]), target["cores_limit"]) == ("", ["processing"], 64)


@pytest.mark.feature("PA-203", "PA-211", "OPS-06")
async def test_what_is_said_goes_to_the_steward_and_into_the_audit(agent: Agent) -> None:
    body = {"scope": "site", "subjects": ["alpha"], "kind": "mode", "value": "down", "reason": "flood"}
    assert await agent.post("/controls", body) == {"changed": ["alpha"], "dry_run": False}
    order = agent.probe("steward").messages[-1]
    assert order == SetControl(
        scope="site", subjects=["alpha"], kind="mode", value="down", reason="flood", until=None, who="operator"
    )
    lifted = await agent.post("/controls/lift", {"scope": "job", "subjects": ["17"], "dry_run": True})
    assert lifted == {"changed": ["17"], "dry_run": True}
    assert agent.probe("steward").messages[-1] == LiftControl(
        scope="job", subjects=["17"], kind="hold", who="operator", dry_run=True
    )
    assert [line["verb"] for line in await agent.get("/api/v1/audit")][:2] == ["controls/lift", "controls"]


@pytest.mark.feature("PA-206", "OPS-06", "OPS-09")
async def test_a_limit_that_was_set_is_shown_with_who_and_when(agent: Agent) -> None:
    body = {"target": "alpha-batch", "limit": "processing", "value": 3, "reason": "<b>flood</b>"}
    answer = {"before": 5, "after": 3, "configured": 5, "dry_run": False}
    assert await agent.post("/limits", body) == answer
    order = agent.probe("steward").messages[-1]
    assert order == SetLimit(target="alpha-batch", limit="processing", value=3, reason="<b>flood</b>")
    new = Override("alpha-batch", "processing", 3, "ann", "<b>flood</b>", 1.7e9)
    await agent.store.write(lambda tx: overrides.put(tx, new))
    (one,) = await agent.get("/api/v1/limits")
    assert (one["value"], one["configured"], one["who"], one["since"]) == (3, 5, "ann", 1.7e9)
    (target,) = (await agent.get("/api/v1/sites"))[0]["targets"]
    assert (target["said"], target["limits"]["processing"]) == ([one], 3)
    page = await agent.get("/sites")
    assert "processing is 3 by the word of ann" in page
    assert "the configuration says 5" in page
    assert "<b>flood" not in page
    await agent.post("/limits", {**body, "default": True}, 400)
    await agent.post("/limits", {**body, "value": -1}, 400)
    await agent.post("/limits", body, 401, token=False)


@pytest.mark.feature("PA-205", "OPS-06")
async def test_a_site_is_put_and_dropped_by_the_reloader_and_shown(agent: Agent) -> None:
    table = {"storage": {"kind": "posix", "root": "/d", "password": "hidden-word"}}
    body = {"site": table, "reason": "new", "replace": True, "dry_run": True}
    answer = await agent.act("PUT", "/sites/delta", body)
    assert (answer["dry_run"], answer["leaving"]) == (True, ["old"])
    assert agent.probe("reloader").messages[-1] == PutSite(
        name="delta", table=table, replace=True, reason="new", dry_run=True
    )
    await agent.act("DELETE", "/sites/delta", {"reason": "gone"})
    assert agent.probe("reloader").messages[-1] == DropSite(name="delta", reason="gone")
    assert [line["verb"] for line in await agent.get("/api/v1/audit")][:2] == ["sites/delta", "sites/delta"]
    assert "hidden-word" not in str(await agent.get("/api/v1/audit"))
    found = await agent.get("/api/v1/sites/alpha")
    assert (found["who"], list(found["site"]["targets"])) == (None, ["alpha-batch"])
    assert "did you mean 'alpha'" in (await agent.get("/api/v1/sites/alpho", 404))["error"]["text"]
    assert (await agent.act("PUT", "/sites/delta", {"site": 3}, 400))["error"]["field"] == "site"
    await agent.act("PUT", "/sites/delta", body, 401, token=False)


@pytest.mark.feature("PA-212", "OPS-06")
async def test_a_feed_in_doubt_is_confirmed(agent: Agent) -> None:
    assert await agent.post("/feed/confirm", {"dry_run": True}) == {"changed": ["alpha", "beta"], "dry_run": True}
    assert agent.probe("feed").messages[-1] == ConfirmFeed(dry_run=True)
    assert (await agent.get("/api/v1/audit"))[0]["verb"] == "feed/confirm"
    await agent.post("/feed/confirm", {}, 401, token=False)
    await agent.system.remove_child("feed")
    refused = await agent.post("/feed/confirm", {}, 404)
    assert refused["error"]["text"] == "no feed is configured; expected `source` in [feed]"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"value": "asleep"}, "value"),
        ({"kind": "hold", "value": "drain"}, "value"),
        ({"scope": "planet"}, "body.scope"),
        ({"subjects": []}, "body.subjects"),
        ({"lasts_s": -1}, "body.lasts_s"),
        ({"until": 3}, "body.until"),
    ],
)
async def test_bad_input_is_refused_at_the_edge(agent: Agent, change: dict[str, Any], field: str) -> None:
    body = {"scope": "site", "subjects": ["alpha"], "kind": "mode", "value": "down", **change}
    answer = await agent.post("/controls", body, 400)
    assert answer["error"]["field"].endswith(field.removeprefix("body."))
    assert agent.probe("steward").messages == []
    await agent.post("/controls", body, 401, token=False)

"""The admin actor in a real tree over a real store: what it shows, what it lets nobody do, what it passes on."""

import asyncio
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import aiohttp
import msgspec
import pytest

from actors.admin_pages.openapi import plain_path
from actors.admin_pages.pages import PAGES
from actors.admin_pages.routes import ROUTES
from actors.messages import DropLetters, HoldWorkflow, KillJobs, ReplayLetters, RetryJobs
from backends.channel.hosts import Hosts
from config.site_settings import Host as HostSettings
from storage import dead_letters, views
from storage.dead_letters import Unhandled
from storage.views import JobView, WorkflowView
from storage.why import Explanation
from tests.unit.admin import running
from tests.unit.admin.running import Agent

SPEC = {"name": "new", "events": 2000, "steps": [{"command": ["sh", "-c", "echo ${HOME}"]}]}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running.running(tmp_path, faults=True) as started:
        yield started


# ---------------------------------------------------------------- looking
@pytest.mark.feature("PA-305", "OPS-07")
async def test_the_page_shows_what_each_host_is_asked(tmp_path: Path) -> None:
    hosts = Hosts({"alps": HostSettings(address="alps.invalid", calls_per_hour=1200)})
    hosts.ssh("alps")
    async with running.running(tmp_path, hosts=hosts) as agent:
        page = await agent.get("/")
        assert "Hosts that are asked" in page
        row = page[page.index("<td>alps</td>") :].partition("</tr>")[0]
        assert "closed" in row
        assert "1\N{THIN SPACE}200" in row
        assert 'prodagent_host_calls_last_hour{host="alps"} 0.0' in await agent.get("/metrics")


@pytest.mark.feature("OPS-06")
async def test_everything_at_a_glance(agent: Agent) -> None:
    seen = await agent.get("/api/v1/status")
    assert seen["agent"]["name"] == "here"
    assert seen["totals"]["merged"] == 3000
    assert [flow["name"] for flow in seen["workflows"]] == ["zmumu", "held"]
    assert (seen["dead_letters"], seen["troubled"]) == (1, [])
    assert {row["target"] for row in seen["sites"]} == {"", "alpha-batch"}


@pytest.mark.feature("OPS-06", "OPS-09", "PA-014")
async def test_the_same_as_json(agent: Agent) -> None:
    flows = msgspec.convert(await agent.get("/api/v1/workflows"), list[WorkflowView])
    assert flows[0].allocated == flows[0].merged + flows[0].in_progress + flows[0].lost
    assert (await agent.get("/api/v1/workflows/zmumu"))["causes"][0]["count"] == 3
    jobs = await agent.get("/api/v1/jobs?workflow=zmumu&state=failed,running&limit=5")
    assert [job["id"] for job in jobs] == [14, 7]
    job = msgspec.convert(await agent.get("/api/v1/jobs/14"), JobView)
    assert [fact.type for fact in job.history][-1] == "JobsFailed"
    assert (await agent.get("/api/v1/files?kind=merged"))[0]["lfn"] == "/store/mc/merged.txt"
    assert (await agent.get("/api/v1/files/5"))["parents"]
    assert (await agent.get("/api/v1/datasets"))[0]["events"] == 3000
    assert (await agent.get("/api/v1/alerts"))[0]["code"] == "jobs-exhausted"
    assert (await agent.get("/api/v1/dead-letters"))["parked"][0]["subscriber"] == "error"
    assert (await agent.get("/api/v1/failures"))["attempts"][0]["exit_code"] == 60311


@pytest.mark.feature("OPS-09")
async def test_why_names_the_blocker_and_the_actor_that_does_not_run(agent: Agent) -> None:
    found = msgspec.convert(await agent.get("/api/v1/why/17"), Explanation)
    assert (found.code, found.owner) == ("next-sweep", "queue")
    assert (await agent.get("/api/v1/why//store/mc/merged.txt"))["code"] == "transfer-next"
    await agent.post("/actors/queue/pause")
    paused = await agent.get("/api/v1/why/17")
    assert (paused["code"], paused["owner"]) == ("actor-paused", "operator")
    assert "--resume" in paused["unblocks"]


async def test_the_tree_is_seen_with_failures(agent: Agent) -> None:
    agent.system.ref("queue").tell("crash")
    while not (one := await agent.get("/api/v1/actors/queue"))["last_failure"]:
        pass
    assert one["last_failure"]["text"] == "a <b>bug</b>"
    assert "ValueError" in one["last_failure"]["traceback"]
    names = [actor["name"] for actor in (await agent.get("/api/v1/actors"))["actors"]]
    stages = ["injector", "steward", "reviser", "reloader", "queue", "error", "postmaster", "transfer", "feed"]
    assert names == ["agent", "stages", *stages, "admin"]
    page = await agent.get("/actors/queue")
    assert "a &lt;b&gt;bug&lt;/b&gt;" in page


@pytest.mark.feature("OPS-15")
async def test_metrics(agent: Agent) -> None:
    text = await agent.get("/metrics")
    assert 'prodagent_jobs{site="alpha",state="running",target="alpha-batch"} 1.0' in text
    assert 'prodagent_events{kind="merged",workflow="zmumu"} 3000.0' in text
    assert 'prodagent_actor_mailbox_depth{actor="queue"} 0.0' in text
    assert 'prodagent_actor_restarts_total{actor="queue"} 0.0' in text
    assert "prodagent_parked_facts 1.0" in text
    assert "prodagent_loop_lag_seconds" in text
    assert re.search(r"prodagent_store_commits_total [1-9]", text)


async def test_health(agent: Agent) -> None:
    assert await agent.get("/healthz") == {"ok": True, "problems": []}
    assert (await agent.get("/readyz"))["ok"]
    agent.system.pause("queue")
    assert (await agent.get("/readyz", 503))["problems"] == ["queue is paused"]
    agent.system.resume("queue")
    assert (await agent.get("/readyz"))["ok"]


@pytest.mark.feature("OPS-06")
async def test_the_openapi_document_describes_every_route(agent: Agent) -> None:
    document = await agent.get("/api/v1/openapi.json")
    for route in ROUTES:
        operation = document["paths"][f"/api/v1{plain_path(route.path)}"][route.method.lower()]
        assert operation["responses"]["200"]["content"]["application/json"]["schema"]
        assert ("security" in operation) == route.acts
    names = set(document["components"]["schemas"])
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', msgspec.json.encode(document).decode()))
    assert referred <= names


# ---------------------------------------------------------------- pages
class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link"):
            self.open.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith(("/", "data:"))]
        assert not any(key.startswith("on") or key == "style" for key, _ in attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.feature("OPS-07")
async def test_pages_are_whole_small_and_need_nothing_from_outside(agent: Agent) -> None:
    named = {"{name}": "zmumu", "{id}": "5", "{subject:.+}": "14"}
    for pattern in PAGES:
        path = "/actors/error" if pattern.startswith("/actors") else pattern
        for hole, value in named.items():
            path = path.replace(hole, value)
        text = await agent.get(path)
        tags = Tags()
        tags.feed(text)
        assert tags.open == [], path
        assert tags.outside == [], path
    assets = re.findall(r'(?:src|href)="(/static/[^"]+)"', await agent.get("/"))
    assert len(assets) == 3
    assert sum([len(await agent.get(path)) for path in assets]) + len(await agent.get("/")) < 200_000


@pytest.mark.feature("OPS-07")
async def test_buttons_are_for_those_who_hold_the_token(agent: Agent) -> None:
    assert "disabled" in await agent.get("/jobs/5")
    jar = aiohttp.CookieJar(unsafe=True)  # takes cookies of addresses, too
    async with aiohttp.ClientSession(cookie_jar=jar) as browser:
        async with browser.get(f"{agent.url}/login?token=wrong") as refused:
            assert refused.status == 403
        async with browser.get(f"{agent.url}/login?token={agent.file['token']}") as home:
            assert home.status == 200
            assert "disabled" not in await home.text()
        (cookie,) = jar
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Strict")
        own = {"Origin": agent.url, "Sec-Fetch-Site": "same-origin"}
        async with browser.post(f"{agent.url}/api/v1/actors/queue/pause", json={}, headers=own) as paused:
            assert paused.status == 200
        for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
            async with browser.post(f"{agent.url}/api/v1/actors/queue/resume", json={}, headers=foreign) as refused:
                assert refused.status == 403


async def test_what_is_not_there_looks_so(agent: Agent) -> None:
    text = await agent.get("/workflows/zmum", 404, Accept="text/html")
    assert "did you mean &#39;zmumu&#39;" in text
    assert (await agent.get("/nothing", 404))["error"]["code"] == "not_found"


# ---------------------------------------------------------------- acting
@pytest.mark.feature("OPS-06")
async def test_commands_reach_the_actor_concerned_and_the_audit(agent: Agent) -> None:
    who = {"X-Prodagent-Who": "anna"}
    assert (await agent.post("/workflows", {"spec": SPEC, "sandbox": "aGk="}, **who))["jobs"] == 2
    order = agent.probe("injector").messages[-1]
    assert (order.spec.name, order.spec.steps[0].command[2], order.sandbox) == ("new", "echo ${HOME}", b"hi")
    assert await agent.post("/jobs/retry", {"jobs": [5, 6]}, **who) == {"changed": [5, 6], "dry_run": False}
    assert agent.probe("error").messages[-1] == RetryJobs(jobs=[5, 6], who="anna")
    await agent.post("/jobs/kill", {"workflow": "zmumu", "reason": "wrong", "dry_run": True}, **who)
    assert agent.probe("error").messages[-1] == KillJobs(workflow="zmumu", reason="wrong", who="anna", dry_run=True)
    await agent.post("/workflows/zmumu/hold", {"reason": "repair"}, **who)
    held = HoldWorkflow(workflow="zmumu", hold=True, reason="repair", who="anna")
    assert agent.probe("injector").messages[-1] == held
    await agent.post("/workflows/held/release", **who)
    assert agent.probe("injector").messages[-1].hold is False
    assert (await agent.post("/dead-letters/replay", **who))["changed"] == [1]
    assert agent.probe("postmaster").messages[-1] == ReplayLetters(facts=[1], who="anna")
    lines = await agent.store.read(views.audited)
    assert [line.verb for line in lines][::-1] == [
        "workflows", "jobs/retry", "jobs/kill", "workflows/zmumu/hold", "workflows/held/release", "dead-letters/replay",
    ]  # fmt: skip
    assert {line.who for line in lines} == {"anna"}


@pytest.mark.feature("PA-012")
async def test_dead_letters_of_both_kinds_are_listed_and_dropped(agent: Agent) -> None:
    lost = Unhandled("queue", "Wake", '{"type":"Wake"}', "Wake()", "killed-its-actor", "ValueError: odd", "Trace", 2)
    await agent.store.write(lambda tx: dead_letters.keep(tx, lost))
    found = await agent.get("/api/v1/dead-letters")
    assert [(one["actor"], one["reason"], one["times"]) for one in found["mail"]] == [("queue", "killed-its-actor", 1)]
    assert (await agent.get("/api/v1/status"))["dead_letters"] == 2
    assert "ValueError: odd" in await agent.get("/dead-letters")
    assert (await agent.post("/dead-letters/drop", {"mail": [1], "dry_run": True}))["mail"] == [1]
    await agent.post("/dead-letters/drop", {"ids": [1], "mail": [1]}, **{"X-Prodagent-Who": "anna"})
    assert agent.probe("postmaster").messages[-1] == DropLetters(facts=[1], mail=[1], who="anna")


@pytest.mark.feature("OPS-05")
async def test_an_actor_is_logged_in_full_for_a_while(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    answer = await agent.post("/actors/queue/debug", {"seconds": 600})
    assert answer == {"actor": "queue", "done": "logged in full for 600 s", "dry_run": False}
    agent.system.ref("queue").tell("hello")
    await agent.probe("queue").expect(1)
    await agent.post("/actors/queue/debug", {"seconds": 0})
    assert "handled str" in caplog.text


@pytest.mark.feature("OPS-05")
async def test_another_class_takes_over_if_it_is_fit(agent: Agent) -> None:
    before = agent.system.instance("admin")
    text = (await agent.post("/actors/admin/replace", {"type": "tests.unit.actors.unfit:Unfit"}, 409))["error"]["text"]
    assert "is not fit (ValueError: not today); the old one goes on" in text
    assert agent.system.instance("admin") is before
    answer = await agent.post("/actors/admin/replace", {"type": "tests.unit.actors.unfit:Fit", "dry_run": True})
    assert answer["done"] == "replaced by tests.unit.actors.unfit:Fit"
    assert agent.system.instance("admin") is before


async def test_an_actor_is_restarted_paused_and_crashed(agent: Agent) -> None:
    before = agent.probe("queue")
    assert (await agent.post("/actors/queue/restart", {"dry_run": True}))["dry_run"]
    assert agent.probe("queue") is before
    await agent.post("/actors/queue/restart")
    assert agent.probe("queue") is not before
    await agent.post("/actors/queue/pause")
    assert (await agent.get("/api/v1/actors/queue"))["state"] == "paused"
    await agent.post("/actors/queue/resume")
    assert (await agent.get("/api/v1/actors/queue"))["state"] == "idle"
    assert (await agent.post("/actors/queue/crash"))["done"] == "told to crash"
    assert "root" in (await agent.post("/actors/agent/restart", None, 409))["error"]["text"]


async def test_the_admin_actor_restarts_itself(agent: Agent) -> None:
    first = agent.file
    assert (await agent.post("/actors/admin/restart"))["done"] == "restarted"
    await served_anew(agent)
    assert agent.file["token"] == first["token"]
    assert agent.file["started"] == pytest.approx(first["started"], abs=1.0)
    assert await agent.get("/healthz")


async def served_anew(agent: Agent) -> None:
    """Wait for the next life of the admin actor: its server has closed, there is nobody to ask."""
    while agent.system.snapshot().actors[-1].restarts == 0 or not (agent.state / "agent.json").exists():
        await asyncio.sleep(0)


async def test_it_comes_back_after_a_fault_of_its_own(agent: Agent) -> None:
    await agent.post("/actors/admin/crash")
    await served_anew(agent)
    seen = await agent.get("/api/v1/actors/admin")
    assert seen["last_failure"]["text"] == "crashed on command"


async def test_faults_are_off_by_default(tmp_path: Path) -> None:
    async with running.running(tmp_path) as agent:
        assert "admin.faults" in (await agent.post("/actors/queue/crash", None, 403))["error"]["text"]

"""What the admin actor lets nobody do: each call without a token, from outside, malformed or too large is told what was expected."""

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from actors.admin import Admin
from actors.admin_pages.openapi import plain_path
from actors.admin_pages.routes import ROUTES
from storage import views
from supervisors import ActorSystem
from tests.unit.admin import filled, running
from tests.unit.admin.running import Agent

SPEC = {"name": "new", "events": 2000, "steps": [{"command": ["sh", "-c", "echo ${HOME}"]}]}


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running.running(tmp_path, faults=True) as started:
        yield started


async def test_acting_needs_the_token(agent: Agent) -> None:
    for route in ROUTES:
        if route.acts:
            path = plain_path(route.path).replace("{name}", "queue")
            refused = await agent.act(route.method, path, None, 401, token=False)
            assert refused["error"]["code"] == "token_expected"
            await agent.act(route.method, path, None, 401, token=False, Authorization="Bearer wrong")
    assert await agent.store.read(views.audited) == []


async def test_a_foreign_host_name_is_refused(agent: Agent) -> None:
    for host in ("evil.example", "evil.example:80", "[", "127.0.0.1.evil.example"):
        assert (await agent.get("/api/v1/status", 403, Host=host))["error"]["code"] == "foreign_host"


MALFORMED = [
    ("/jobs/retry", {}, 400, "jobs", "either jobs or a workflow"),
    ("/jobs/retry", {"jobs": ["x"]}, 400, "jobs[0]", "whole number"),
    ("/jobs/retry", {"jobs": [0]}, 400, "jobs[0]", "1"),
    ("/jobs/retry", {"job": [1]}, 400, "job", "jobs"),
    ("/jobs/retry", [1], 400, "body", "object"),
    ("/jobs/retry", {"jobs": [999]}, 404, None, "newest is 22"),
    ("/jobs/kill", {"workflow": "zmum"}, 404, None, "did you mean 'zmumu'"),
    ("/workflows/zmum/hold", {}, 404, None, "did you mean 'zmumu'"),
    ("/workflows", {"spec": {"name": "a b", "event": 1}}, 400, "name", "letters"),
    ("/workflows", {"spec": SPEC, "sandbox": "%"}, 400, "sandbox", "base64"),
    ("/workflows", {"spec": 3}, 400, "spec", "table"),
    ("/workflows", {"spec": SPEC | {"name": "taken"}}, 409, None, "exists with other content"),
    ("/actors/quue/restart", {}, 404, None, "did you mean 'queue'"),
    ("/dead-letters/replay", {"ids": [7]}, 404, None, "no dead letter 7"),
    ("/dead-letters/drop", {"mail": [7]}, 404, None, "no dead letter m7"),
    ("/dead-letters/drop", {}, 400, "ids", "the ids of the dead letters"),
    ("/actors/queue/debug", {"seconds": -1}, 400, "seconds", "0"),
    ("/actors/queue/replace", {}, 400, "type", ""),
    ("/actors/queue/replace", {"type": "nowhere:Nobody"}, 409, None, "cannot be loaded"),
    ("/actors/queue/replace", {"type": "actors.guard:Guard"}, 409, None, "no stage runs there now"),
    ("/actors/quue/debug", {}, 404, None, "did you mean 'queue'"),
    ("/nothing", {}, 404, None, "Not Found"),
    ("/status", {}, 405, None, "Not Allowed"),
]


@pytest.mark.feature("OPS-06")
async def test_malformed_calls_say_what_was_expected(agent: Agent) -> None:
    for path, body, status, field, text in MALFORMED:
        error = (await agent.post(path, body, status))["error"]
        if field is not None:
            assert field in {error["field"], *(fault["key"] for fault in error["faults"])}, (path, body)
        assert text in error["text"]


async def test_bodies_have_bounds(agent: Agent) -> None:
    headers = {"Authorization": f"Bearer {agent.file['token']}", "Content-Type": "application/json"}
    for content, status in ((b"{" * 10, 400), (b"\xff", 400), (b"[" * 100_000, 400), (b" " * 1_000_001, 413)):
        async with agent.client.post(f"{agent.url}/api/v1/jobs/retry", data=content, headers=headers) as got:
            assert got.status == status
            assert (await got.json())["error"]["text"]
    headers["Content-Type"] = "text/plain"
    async with agent.client.post(f"{agent.url}/api/v1/jobs/retry", data=b"{}", headers=headers) as got:
        assert got.status == 415


async def test_bad_questions(agent: Agent) -> None:
    for path, text in {
        "/jobs?state=queud": "queued",
        "/jobs?limit=0": "from 1 to 10000",
        "/jobs?stat=queued": "unknown parameter 'stat'",
        "/files?kind=x": "unmerged, merged",
    }.items():
        assert text in (await agent.get(f"/api/v1{path}", 400))["error"]["text"]
    for path in ("/jobs/999", "/jobs/x", "/files/99", "/actors/x", "/why/job:x", "/why/zmum", "/workflows/x"):
        assert (await agent.get(f"/api/v1{path}", 404))["error"]["code"] == "not_found"


async def test_an_actor_that_is_away_is_a_503(agent: Agent) -> None:
    await agent.system.remove_child("error")
    assert (await agent.post("/jobs/retry", {"jobs": [5]}, 404))["error"]["text"].startswith("no actor 'error'")


# ---------------------------------------------------------------- start and stop
@pytest.mark.feature("OPS-06")
async def test_agent_json_is_private_and_goes_with_the_agent(tmp_path: Path) -> None:
    async with running.running(tmp_path) as agent:
        for name in ("agent.json", "admin.token"):
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
        assert agent.url.startswith("http://127.0.0.1:")
        assert set(agent.file) == {"pid", "url", "token", "started"}
    assert not (tmp_path / "agent.json").exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


async def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    async with running.running(tmp_path) as agent:
        port = int(agent.url.rpartition(":")[2])
        shared = running.world(tmp_path / "other", agent.store, port=port)
        system = ActorSystem(running.tree(lambda: Admin(shared)))
        with pytest.raises(Exception, match=f"cannot listen on 127.0.0.1:{port}.*set another one"):
            await system.start()
        assert not (tmp_path / "other" / "agent.json").exists()


async def test_beyond_loopback_looking_needs_the_token_too(tmp_path: Path) -> None:
    async with running.running(tmp_path, host="0.0.0.0") as agent:
        assert (await agent.get("/api/v1/status", 401))["error"]["code"] == "token_expected"
        assert (await agent.get("/", 401))["error"]["code"] == "token_expected"
        assert await agent.get("/healthz")
        bearer = f"Bearer {agent.file['token']}"
        assert (await agent.get("/api/v1/status", Authorization=bearer))["agent"]["name"] == "here"


async def test_disabled_it_serves_nothing(tmp_path: Path) -> None:
    async with running.running(tmp_path, enabled=False):
        assert not (tmp_path / "agent.json").exists()
    assert filled.settings(tmp_path).admin.enabled

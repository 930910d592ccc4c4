"""The real ProdMgr process: killed between calls, given wrong tokens and bad bodies, stopped politely."""

import asyncio
import contextlib
import io
import json
import os
import random
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from backends.prodmgr.base import ProdMgrError, Progress
from backends.prodmgr.http import HttpProdMgr
from backends.prodmgr.wire import TokenCall
from domain.policy import PolicySettings, RequestState
from domain.ranges import Range, covers
from domain.spec import Step, WorkflowSpec
from services.prodmgr.accountant import book_token
from services.prodmgr.identity import Caller, digest, new_token
from storage.accounts import PRODMGR, Scope
from storage.store import Store

PROGRAM = Path(__file__).resolve().parents[2] / "run_prodmgr.py"
SPEC = WorkflowSpec(name="plain", events=600, events_per_job=10, steps=[Step(command=["true"])])


async def command(*words: str) -> tuple[int, str, str]:
    """Run the command line; return (exit code, what it printed, what it complained)."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, str(PROGRAM), *words, stdout=pipe, stderr=pipe)
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


class Service:
    """A ProdMgr process that can be killed and started again on the same store and port."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.store = store
        self.process: asyncio.subprocess.Process | None = None
        self.port = 0
        self._open = contextlib.AsyncExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def token(self, name: str, scope: str) -> str:
        """Book a token in the store of a server that does not run."""
        token = new_token()
        plain = {"call_id": f"token-{name}", "agent": name, "scope": scope, "sha256": digest(token)}
        store = await Store.open(self.store, PRODMGR)
        await store.write(lambda tx: book_token(tx, Caller("test", Scope.MANAGER), msgspec.convert(plain, TokenCall)))
        await store.close()
        return token

    async def start(self) -> None:
        port_file = self.folder / "port"
        words = ("run", "--store", self.store, "--port", str(self.port), "--port-file", str(port_file))
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        line = await self.process.stdout.readline()
        assert line.startswith(b"ProdMgr listens on http://127.0.0.1:")
        self.port = int(port_file.read_text())
        assert line.decode().strip().endswith(f":{self.port}")

    async def kill(self) -> None:
        """As the kernel would: no warning."""
        assert self.process is not None
        self.process.kill()
        await self.process.communicate()
        self.process = None

    async def stop(self) -> str:
        """Ask it to end; return what it printed since it listened."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        out, _ = await self.process.communicate()
        assert self.process.returncode == 0
        self.process = None
        return out.decode()

    async def client(self, token: str, agent: str = "") -> HttpProdMgr:
        client = HttpProdMgr(self.url, token, agent=agent)
        self._open.push_async_callback(client.close)
        return client

    async def close(self) -> None:
        await self._open.aclose()
        if self.process is not None:
            await self.kill()


@pytest.fixture
async def service(tmp_path: Path, new_store_url: Callable[..., str]) -> AsyncIterator[Service]:
    made = Service(tmp_path, new_store_url(PRODMGR))
    yield made
    await made.close()


async def raw(service: Service, method: str, path: str, token: str, body: bytes = b"") -> tuple[int, Any]:
    """One call without the client's care; the answer is JSON."""
    headers = {"Authorization": token} if token else {}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, f"{service.url}{path}", data=io.BytesIO(body), headers=headers) as response,
    ):
        return response.status, json.loads(await response.read())


@pytest.mark.feature("PM-08", "PM-02")
async def test_a_campaign_with_kills_between_all_calls(service: Service) -> None:
    """Each answer is thrown away, the server killed, and the call repeated: every event is there exactly once."""
    dice = random.Random(1)
    boss, one = await service.token("boss", "manager"), await service.token("one", "agent")
    await service.start()
    made = await (await service.client(boss)).make("make-0001", SPEC, settings=PolicySettings(jobs_per_allocation=20))
    agent = await service.client(one, "one")
    ranges: list[Range] = []
    for number in range(3):
        offer = await agent.acquire(f"acquire-{number}", max_events=200)
        await service.kill()
        with pytest.raises(ProdMgrError) as caught:
            await agent.acquire(f"acquire-{number}", max_events=200)
        assert caught.value.transient
        await service.start()
        assert await agent.acquire(f"acquire-{number}", max_events=200) == offer
        for found in offer.allocations:
            whole = Range(found.first_event, found.events)
            decision = await agent.report(f"report-{found.id}", found.id, found.fence, done=[whole])
            if dice.random() < 0.5:
                await service.kill()
                await service.start()
            assert await agent.report(f"report-{found.id}", found.id, found.fence, done=[whole]) == decision
            ranges.append(whole)
    assert covers(ranges, Range(1, 600))
    detail = await agent.request(made.id)
    assert (detail.state, detail.ledger.merged) == (RequestState.COMPLETE, 600)
    assert (await agent.acquire("acquire-end", max_events=200)).exhausted


@pytest.mark.feature("PM-08")
async def test_kills_during_calls_lose_and_double_nothing(service: Service) -> None:
    """The server dies while calls are on their way; repeated calls settle what each of them did."""
    boss, one = await service.token("boss", "manager"), await service.token("one", "agent")
    await service.start()
    made = await (await service.client(boss)).make("make-0001", SPEC, settings=PolicySettings(jobs_per_allocation=1))
    agent = await service.client(one, "one")
    calls = [f"acquire-{number}" for number in range(40)]
    first = [asyncio.create_task(agent.acquire(call_id, max_events=10)) for call_id in calls]
    done, _ = await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
    await service.kill()
    answers = await asyncio.gather(*first, return_exceptions=True)
    assert len(done) >= 1
    await service.start()
    ranges: list[Range] = []
    for call_id, answer in zip(calls, answers, strict=True):
        offer = await agent.acquire(call_id, max_events=10)
        assert isinstance(answer, ProdMgrError) or answer == offer
        ranges += [Range(found.first_event, found.events) for found in offer.allocations]
    assert covers(ranges, Range(1, 400))
    ledger = (await agent.request(made.id)).ledger
    assert (ledger.leased, ledger.unassigned) == (400, 200)


@pytest.mark.feature("PM-05", "PM-08")
async def test_refusals(service: Service) -> None:
    """Tokens, scopes, bodies and paths that will not do; the server goes on."""
    boss, one = await service.token("boss", "manager"), await service.token("one", "agent")
    await service.start()
    made = await (await service.client(boss)).make("make-0001", SPEC)
    request = f"/api/v1/requests/{made.id}"
    as_one, as_boss = f"Bearer {one}", f"Bearer {boss}"
    good = b'{"call_id":"acquire-1","agent":"one","max_events":5}'
    cases: list[tuple[str, str, str, bytes, int, str]] = [
        ("GET", "/api/v1/requests", "", b"", 401, "unauthorized"),
        ("GET", "/api/v1/requests", "Bearer wrong", b"", 401, "unauthorized"),
        ("GET", "/api/v1/requests", f"Basic {one}", b"", 401, "unauthorized"),
        ("GET", "/api/v1/requests", f"Bearer {one}x", b"", 401, "unauthorized"),
        ("POST", f"{request}/suspend", as_one, b'{"call_id":"suspend-1"}', 403, "forbidden"),
        ("PUT", f"/api/v1/sandboxes/{'0' * 64}", as_one, b"x", 403, "forbidden"),
        ("POST", "/api/v1/allocations", as_boss, good, 403, "forbidden"),
        ("POST", "/api/v1/allocations", as_one, good.replace(b'"one"', b'"two"'), 403, "forbidden"),
        ("POST", "/api/v1/allocations", as_one, b'{"call_id":', 400, "bad_input"),
        ("POST", "/api/v1/allocations", as_one, good.replace(b"5", b"-5"), 400, "bad_input"),
        ("POST", f"{request}/explode", as_boss, b'{"call_id":"explode-1"}', 400, "bad_input"),
        ("PUT", f"/api/v1/sandboxes/{'0' * 64}", as_boss, b"x", 400, "bad_input"),
        ("POST", "/api/v1/allocations", as_one, b" " * (9 * 1024 * 1024), 413, "too_large"),
        ("GET", "/api/v1/requests/99", as_one, b"", 404, "not_found"),
        ("GET", "/api/v1/requests/../../etc", as_one, b"", 404, "not_found"),
        ("GET", "/api/v1/requests/-1", as_one, b"", 404, "not_found"),
        ("GET", f"/api/v1/requests/{'9' * 40}", as_one, b"", 404, "not_found"),
        ("DELETE", "/api/v1/requests", as_one, b"", 405, "not_found"),
        ("GET", "/nowhere", as_one, b"", 404, "not_found"),
    ]
    for method, path, token, body, status, code in cases:
        found, answer = await raw(service, method, path, token, body)
        assert (found, answer["error"]["code"]) == (status, code), (method, path, answer)
        assert answer["error"]["text"]
    assert await raw(service, "GET", "/healthz", "") == (200, {"ok": True})
    error = (await raw(service, "POST", "/api/v1/allocations", as_one, good.replace(b"5", b'"x"')))[1]["error"]
    assert (error["field"], error["got"], error["expected"]) == ("max_events", "'x'", "int")
    shown = await (await service.client(boss)).request(made.id)
    assert (shown.state, shown.ledger.unassigned) == (RequestState.NEW, 600)


@pytest.mark.feature("PM-05")
async def test_the_command_line(service: Service) -> None:
    """Make a request from a file, show it, be refused with the right exit codes, stop on SIGTERM."""
    file = service.folder / "boss.token"
    words = ("token", "new", "--store", service.store, "--agent", "boss", "--scope", "manager", "--file", str(file))
    assert await command(*words) == (0, "", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    await service.start()
    (service.folder / "payload.sh").write_text("echo\n")
    workflow = service.folder / "workflow.toml"
    text = 'name = "plain"\nevents = 500\nfiles = ["payload.sh"]\n[[steps]]\ncommand = ["sh", "payload.sh"]\n'
    workflow.write_text(text)
    server = ("--url", service.url, "--token-file", str(file))
    code, out, _ = await command("request", "add", str(workflow), "--json", "--prefer", "one=5", *server)
    assert (code, json.loads(out)["ledger"]["requested"], json.loads(out)["preferences"]) == (0, 500, {"one": 5})
    code, out, _ = await command("request", "show", "1", *server)
    assert code == 0
    assert "request 1 plain: new" in out
    code, out, _ = await command("token", "new", "--agent", "one", "--scope", "agent", *server)
    agent = await service.client(out.strip(), "one")
    (found,) = (await agent.acquire("acquire-1", max_events=1000)).allocations
    await agent.renew("renew-001", found.id, found.fence, Progress(done=5))
    assert b"".join([await agent.sandbox((await agent.workflow(1)).sandbox_sha256)])[:2] == b"\x1f\x8b"
    workflow.write_text(text.replace("500", "0"))
    code, _, err = await command("request", "add", str(workflow), *server)
    assert code == 2
    assert "events: got 0, expected a whole number of at least 1" in err
    code, _, err = await command("token", "new", "--agent", "one", "--scope", "agent", "--store", service.store)
    assert code == 1
    assert "in use" in err
    assert await service.stop() == "ProdMgr has stopped\n"


@pytest.mark.feature("PM-05")
async def test_the_open_world_is_not_served_without_tls(service: Service) -> None:
    code, _, err = await command("run", "--store", service.store, "--host", "0.0.0.0", "--port", "0")
    assert code == 2
    assert "--plain-http" in err
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, _, err = await command("run", "--store", service.store, "--port", str(taken.getsockname()[1]))
    assert code == 1
    assert os.strerror(98).lower() in err.lower()

"""The interface: what is on record, which tokens open it, and that its reference is whole."""

import itertools
import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import sqlalchemy as sa

from backends.prodmgr.base import ProdMgrError
from backends.prodmgr.http import HttpProdMgr
from backends.prodmgr.wire import TokenCall
from domain.policy import REQUEST_TABLE, PolicySettings, RequestState, RequestVerb, Verdict
from services.prodmgr.accountant import book_token
from services.prodmgr.identity import Caller, digest, new_token
from services.prodmgr.refusal import STATUS, Code
from services.prodmgr.server import Server, write_port
from services.prodmgr.web import ROUTES
from storage import accounts
from storage.accounts import PRODMGR, Scope
from storage.errors import StoreInUse
from storage.store import Store

REFERENCE = (Path(__file__).parents[3] / "docs" / "reference" / "prodmgr-api.md").read_text()


class HandClock:
    """A clock that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def time(self) -> float:
        return self.now

    monotonic = time


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def token() -> str:
    return new_token()


@pytest.fixture
async def server(tmp_path: Path, clock: HandClock, token: str) -> AsyncIterator[Server]:
    url = f"sqlite:///{tmp_path}/prodmgr.db"
    store = await Store.open(url, PRODMGR, clock=clock)
    call = TokenCall(call_id="token-one", agent="one", scope="agent", sha256=digest(token), days=1)
    await store.write(lambda tx: book_token(tx, Caller("test", Scope.MANAGER), call))
    await store.close()
    made = Server(url, "127.0.0.1", 0, clock=clock)
    await made.start()
    await made.start()
    yield made
    await made.stop()
    await made.stop()


@pytest.mark.feature("PM-05")
async def test_a_call_outside_the_scope_is_on_record(
    server: Server, tmp_path: Path, clock: HandClock, token: str
) -> None:
    client = HttpProdMgr(server.address, token, agent="one")
    with pytest.raises(ProdMgrError) as caught:
        await client.change("fail-0001", 1, RequestVerb.FAIL)
    assert caught.value.status == 403
    await client.close()
    await server.stop()
    store = await Store.open(f"sqlite:///{tmp_path}/prodmgr.db", PRODMGR, clock=clock)
    query = sa.select(accounts.audit).order_by(accounts.audit.c.id.desc())
    entries = await store.read(lambda c: c.execute(query).mappings().all())
    await store.close()
    assert (entries[0]["who"], entries[0]["verb"]) == ("one", "POST /api/v1/requests/1/fail")
    assert entries[0]["result"] == "the token of one has scope agent, this needs manager"


@pytest.mark.feature("PM-05")
async def test_a_token_expires(server: Server, clock: HandClock, token: str) -> None:
    client = HttpProdMgr(server.address, token, agent="one")
    clock.now += 86399
    assert await client.requests() == []
    clock.now += 1
    with pytest.raises(ProdMgrError, match="the token of one has expired") as caught:
        await client.requests()
    assert (caught.value.status, caught.value.transient) == (401, False)
    await client.close()


@pytest.mark.feature("PM-05")
async def test_the_store_does_not_hold_the_token(server: Server, tmp_path: Path, token: str) -> None:
    await server.stop()
    assert len(token) == 43  # 32 bytes
    files = list(tmp_path.iterdir())
    assert all(token.encode() not in path.read_bytes() for path in files)


async def test_one_store_has_one_server(server: Server, tmp_path: Path) -> None:
    second = Server(f"sqlite:///{tmp_path}/prodmgr.db", "127.0.0.1", 0)
    with pytest.raises(StoreInUse):
        await second.start()


async def test_metrics_count_answers_by_route(server: Server) -> None:
    async with aiohttp.ClientSession() as session:
        for _ in range(2):
            await (await session.get(f"{server.address}/api/v1/requests/7")).read()
        text = await (await session.get(f"{server.address}/metrics")).text()
    assert 'prodmgr_answers_total{method="GET",route="/api/v1/requests/{id}",status="401"} 2.0' in text


def test_the_port_file_is_written_whole(tmp_path: Path) -> None:
    write_port(tmp_path / "port", 1234)
    assert [path.name for path in tmp_path.iterdir()] == ["port"]
    assert (tmp_path / "port").read_text() == "1234\n"


@pytest.mark.parametrize("method,path", [(method, path) for method, path, _, _ in ROUTES])  # noqa: PT006
def test_each_route_has_its_heading(method: str, path: str) -> None:
    assert f"### `{method} {path}`" in REFERENCE


def test_the_reference_has_no_route_too_many() -> None:
    headings = set(re.findall(r"### `(\w+) (\S+)`", REFERENCE))
    assert headings == {(method, path) for method, path, _, _ in ROUTES}


@pytest.mark.parametrize("code", list(Code))
def test_each_code_stands_in_the_reference_with_its_status(code: Code) -> None:
    assert re.search(rf"^\| `{code}` \| {STATUS.get(code, 409)}\b", REFERENCE, re.MULTILINE)


@pytest.mark.feature("PM-03")
def test_verdicts_settings_and_moves_stand_in_the_reference() -> None:
    assert all(f"| `{verdict}` |" in REFERENCE for verdict in Verdict)
    assert all(f"`settings.{name}`" in REFERENCE for name in PolicySettings.__struct_fields__)
    for state, verb in itertools.product(RequestState, RequestVerb):
        table = REFERENCE.partition("| state | start |")[2]
        row = re.search(rf"^\| `{state}` \|(.*)\|$", table, re.MULTILINE)
        assert row
        cell = row[1].split("|")[list(RequestVerb).index(verb)].strip()
        move = REQUEST_TABLE[verb]
        assert cell == (move.target if state in move.sources else ""), (state, verb)

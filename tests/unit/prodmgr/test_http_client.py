"""The client against servers that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from backends.prodmgr.base import ProdMgrError
from backends.prodmgr.http import HttpProdMgr

pytestmark = pytest.mark.feature("PM-08")


@asynccontextmanager
async def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[HttpProdMgr]:
    """A client of a server with one handler for everything."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = HttpProdMgr(f"http://127.0.0.1:{runner.addresses[0][1]}/", "token", agent="one", deadline_s=5)
    try:
        yield client
    finally:
        await client.close()
        await client.close()
        await runner.cleanup()


async def ask(status: int, body: bytes, headers: dict[str, str] | None = None) -> ProdMgrError:
    async def handler(_: web.Request) -> web.Response:
        return web.Response(status=status, body=body, headers=headers)

    async with serving(handler) as client:
        with pytest.raises(ProdMgrError) as caught:
            await client.acquire("acquire-1", max_events=10)
    return caught.value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "malformed answer: JSON is malformed"),
        (b"", "malformed answer: Input data was truncated"),
        (b'{"allocations":[]}', "missing required field `exhausted`"),
        (b'{"allocations":[{"id":"x"}],"exhausted":false}', "Expected `int`, got `str` - at `$.allocations[0].id`"),
        (b'{"allocations":[' * 10_000, "malformed answer"),
    ],
)
async def test_malformed_answers_name_the_field(body: bytes, message: str) -> None:
    error = await ask(200, body)
    assert message in str(error)
    assert "/api/v1/allocations" in str(error)
    assert error.transient


@pytest.mark.parametrize(
    ("status", "transient"),
    [
        *((status, False) for status in (301, 400, 401, 403, 404, 409, 410, 413)),
        *((status, True) for status in (429, 500, 502, 503, 504)),
    ],
)
async def test_statuses(status: int, transient: bool) -> None:
    error = await ask(status, b'{"error": {"code": "some_code", "text": "a reason"}}')
    assert (error.status, error.transient, error.code) == (status, transient, "some_code")
    assert str(error).endswith("/api/v1/allocations: a reason")
    foreign = await ask(status, b"<html>a proxy</html>")
    assert (foreign.status, foreign.code) == (status, "")
    assert "a proxy" in str(foreign)


async def test_cool_off_says_how_long() -> None:
    body = b'{"error": {"code": "cool_off", "text": "later"}}'
    assert (await ask(429, body, {"Retry-After": "600"})).retry_after == 600
    assert (await ask(429, body, {"Retry-After": "soon"})).retry_after is None


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    client = HttpProdMgr(f"http://127.0.0.1:{port}", "token")
    with pytest.raises(ProdMgrError, match="Cannot connect") as caught:
        await client.requests()
    assert (caught.value.transient, caught.value.status) == (True, 0)
    await client.close()


async def test_a_malformed_url_is_not_worth_another_try() -> None:
    client = HttpProdMgr("nonsense", "token")
    with pytest.raises(ProdMgrError, match="malformed") as caught:
        await client.requests()
    assert not caught.value.transient
    await client.close()


async def test_no_answer_in_time() -> None:
    released = asyncio.Event()

    async def silent(_: web.Request) -> web.Response:
        await released.wait()
        return web.Response()

    async with serving(silent) as client:
        client._deadline_s = 0.05
        with pytest.raises(ProdMgrError, match=r"no answer in 0.05 s") as caught:
            await client.requests()
        released.set()
    assert caught.value.transient


async def test_a_connection_that_breaks() -> None:
    async def broken(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async with serving(broken) as client:
        with pytest.raises(ProdMgrError) as caught:
            await client.acquire("acquire-1", max_events=10)
    assert caught.value.transient


async def test_content_that_is_not_what_was_asked_for() -> None:
    async def wrong(request: web.Request) -> web.Response:
        if request.path.endswith("/workflow"):
            answer = {"spec": {}, "spec_version": 1, "spec_checksum": "0" * 64, "sandbox_sha256": "", "sandbox_size": 0}
            return web.json_response(answer)
        return web.Response(body=b"other")

    async with serving(wrong) as client:
        with pytest.raises(ProdMgrError, match="the content has sha256"):
            await client.sandbox("0" * 64)
        with pytest.raises(ProdMgrError, match="spec_checksum: the spec has sha256"):
            await client.workflow(1)

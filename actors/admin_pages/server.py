"""The web server: who may call, what is answered, how a refusal looks."""

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from actors.admin_pages import health, metrics, openapi, pages
from actors.admin_pages.answers import Health
from actors.admin_pages.desk import Desk
from actors.admin_pages.door import Door
from actors.admin_pages.guard import Guard
from actors.admin_pages.refusal import Problem, ProblemAnswer, Refusal
from actors.admin_pages.routes import API, ROUTES
from storage.errors import StoreAway
from supervisors.listening import AT_ONCE, WAITING

log = logging.getLogger("prodagent.admin")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Server:
    """Answers from `start` to `stop`, which may be repeated, who comes to the door."""

    def __init__(self, desk: Desk, door: Door) -> None:
        self._desk = desk
        self._door = door
        self._guard = Guard(door.host, desk.token)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Let in who waits and who comes."""
        self._runner = web.AppRunner(self.application(), handle_signals=False, access_log=None, shutdown_timeout=1.0)
        try:
            await self._runner.setup()
            for listening in self._door.sockets:
                await web.SockSite(self._runner, listening, backlog=AT_ONCE).start()
                listening.listen(WAITING)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Finish the calls under way and close."""
        await self._desk.reloads.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def application(self) -> web.Application:
        """Return the application with all routes."""
        application = web.Application(middlewares=[self._answer], client_max_size=0)
        router = application.router
        for route in ROUTES:
            handler = self._api(route.handler, acts=route.acts, known=set(route.query))
            router.add_route(route.method, API + route.path, handler)
        router.add_get(f"{API}/openapi.json", self._api(_document))
        router.add_get("/healthz", self._api(health.healthz))
        router.add_get("/readyz", self._api(health.readyz))
        router.add_get("/metrics", self._api(metrics.metrics))
        router.add_get("/login", self._login)
        for path, page in pages.PAGES.items():
            router.add_get(path, self._page(page))
        router.add_static("/static", STATIC)
        return application

    def _api(
        self,
        handler: Callable[[Desk, web.Request], Awaitable[Any]],
        *,
        acts: bool = False,
        known: set[str] | None = None,
    ) -> Handler:
        async def api(request: web.Request) -> web.StreamResponse:
            self._guard.check(request, acts=acts)
            if strange := set(request.query) - (known or set()):
                expected = ", ".join(sorted(known)) if known else "none"
                raise Refusal(400, "bad_input", f"unknown parameter {min(strange)!r}; expected {expected}")
            answer = await handler(self._desk, request)
            return answer if isinstance(answer, web.StreamResponse) else _json(answer)

        return api

    def _page(self, page: pages.Page) -> Handler:
        async def show(request: web.Request) -> web.StreamResponse:
            self._guard.check(request, acts=False)
            may_act = self._guard.knows(request)
            return _html(await page(self._desk, request, may_act))

        return show

    async def _login(self, request: web.Request) -> web.StreamResponse:
        self._guard.check(request, acts=False)
        token = request.query.get("token", "")
        if not self._guard.fits(token):
            raise Refusal(403, "wrong_token", "got a token that is none of this agent; agent.json holds the right one")
        answer = web.Response(status=303, headers={"Location": "/"})
        answer.set_cookie(self._guard.cookie(request), token, httponly=True, samesite="Strict", path="/")
        return answer

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give every refusal and failure an answer that says what to do."""
        try:
            answer = await handler(request)
        except Exception as error:
            answer = self._refused(request, _refusal_of(error, request))
        for name, value in HEADERS.items():
            answer.headers.setdefault(name, value)
        return answer

    def _refused(self, request: web.Request, refusal: Refusal) -> web.StreamResponse:
        headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "5"}}.get(refusal.status, {})
        if "text/html" in request.headers.get("Accept", "") and not request.path.startswith("/api"):
            return _html(pages.refused(refusal.status, str(refusal)), refusal.status, headers)
        return _json(ProblemAnswer(error=refusal.problem), refusal.status, headers)


async def _document(_desk: Desk, _request: web.Request) -> dict[str, Any]:
    return openapi.document()


def _json(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    if isinstance(answer, Health) and not answer.ok:
        status = 503
    return web.Response(
        body=msgspec.json.encode(answer), status=status, headers=headers, content_type="application/json"
    )


def _html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(text=text, status=status, headers=headers, content_type="text/html")


def _refusal_of(error: Exception, request: web.Request) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, web.HTTPException):
        code = {404: "not_found", 405: "wrong_method"}.get(error.status, "bad_input")
        return Refusal(error.status, code, f"{request.method} {request.path[:200]}: {error.reason}")
    if isinstance(error, StoreAway):
        return Refusal(503, "store_away", str(error))
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return Refusal(500, "internal", f"the agent failed to answer ({type(error).__name__}); its log says why")


__all__ = ["Problem", "Server"]

"""The REST interface of a ProdMgr."""

import logging
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, generate_latest

from backends.prodmgr.wire import (
    MAX_JSON,
    MAX_SANDBOX,
    AcquireCall,
    Answer,
    ChangeCall,
    MakeCall,
    Problem,
    ProblemAnswer,
    ReleaseCall,
    RenewCall,
    ReportCall,
    RequestList,
    TokenCall,
)
from services.prodmgr import identity
from services.prodmgr.accountant import Accountant
from services.prodmgr.bodies import read
from services.prodmgr.identity import Caller
from services.prodmgr.refusal import Code, Refusal, not_found
from storage.accounts import Scope
from storage.errors import StoreAway

log = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

ROUTES: tuple[tuple[str, str, str, tuple[Scope, ...]], ...] = (
    ("POST", "/api/v1/requests", "make", (Scope.MANAGER,)),
    ("GET", "/api/v1/requests", "requests", (Scope.AGENT, Scope.MANAGER)),
    ("GET", "/api/v1/requests/{id}", "request", (Scope.AGENT, Scope.MANAGER)),
    ("POST", "/api/v1/requests/{id}/{verb}", "change", (Scope.MANAGER,)),
    ("GET", "/api/v1/requests/{id}/workflow", "workflow", (Scope.AGENT, Scope.MANAGER)),
    ("PUT", "/api/v1/sandboxes/{sha256}", "upload", (Scope.MANAGER,)),
    ("GET", "/api/v1/sandboxes/{sha256}", "sandbox", (Scope.AGENT, Scope.MANAGER)),
    ("POST", "/api/v1/allocations", "acquire", (Scope.AGENT,)),
    ("POST", "/api/v1/allocations/{id}/renew", "renew", (Scope.AGENT,)),
    ("POST", "/api/v1/allocations/{id}/report", "report", (Scope.AGENT,)),
    ("POST", "/api/v1/allocations/{id}/release", "release", (Scope.AGENT,)),
    ("POST", "/api/v1/tokens", "add_token", (Scope.MANAGER,)),
)
"""Method, path, handler, and the scopes that may call it."""


class Desk:
    """Turns requests into calls of the accountant; one handler per route."""

    def __init__(self, accountant: Accountant) -> None:
        self._accountant = accountant
        self._registry = CollectorRegistry()
        names = ["method", "route", "status"]
        self._answers = Counter("prodmgr_answers", "Answers by route and status", names, registry=self._registry)

    def application(self) -> web.Application:
        """Return the application with all routes."""
        application = web.Application(middlewares=[self._explain], client_max_size=MAX_JSON)
        for method, path, handler, scopes in ROUTES:
            application.router.add_route(method, path, self._guarded(getattr(self, handler), scopes))
        application.router.add_get("/healthz", self.healthz)
        application.router.add_get("/metrics", self.metrics)
        return application

    def _guarded(
        self, handler: Callable[[web.Request, Caller], Awaitable[web.Response]], scopes: tuple[Scope, ...]
    ) -> Handler:
        async def guarded(request: web.Request) -> web.Response:
            caller = await self._accountant.admit(request.headers.get("Authorization"))
            try:
                identity.require(caller, *scopes)
                return await handler(request, caller)
            except Refusal as refusal:
                if refusal.code is Code.FORBIDDEN:
                    await self._accountant.audit(caller.name, f"{request.method} {request.path}", str(refusal))
                raise

        return guarded

    # ------------------------------------------------------------ requests
    async def make(self, request: web.Request, caller: Caller) -> web.Response:
        return _json(await self._accountant.make(caller, read(await request.read(), MakeCall)), status=201)

    async def requests(self, _request: web.Request, _caller: Caller) -> web.Response:
        return _json(RequestList(requests=await self._accountant.requests()))

    async def request(self, request: web.Request, _caller: Caller) -> web.Response:
        return _json(await self._accountant.request(_number(request, "request")))

    async def change(self, request: web.Request, caller: Caller) -> web.Response:
        number, verb = _number(request, "request"), request.match_info["verb"]
        return _json(await self._accountant.change(caller, number, verb, read(await request.read(), ChangeCall)))

    async def workflow(self, request: web.Request, _caller: Caller) -> web.Response:
        return _json(await self._accountant.workflow(_number(request, "request")))

    async def upload(self, request: web.Request, caller: Caller) -> web.Response:
        content = bytearray()
        async for chunk in request.content.iter_any():
            content += chunk
            if len(content) > MAX_SANDBOX:
                raise Refusal(Code.TOO_LARGE, f"sandbox: more than {MAX_SANDBOX} bytes")
        return _json(await self._accountant.upload(caller, request.match_info["sha256"], bytes(content)), status=201)

    async def sandbox(self, request: web.Request, _caller: Caller) -> web.Response:
        content = await self._accountant.sandbox(request.match_info["sha256"])
        return web.Response(body=content, content_type="application/gzip")

    # ------------------------------------------------------------ allocations
    async def acquire(self, request: web.Request, caller: Caller) -> web.Response:
        return _json(await self._accountant.acquire(caller, read(await request.read(), AcquireCall)))

    async def renew(self, request: web.Request, caller: Caller) -> web.Response:
        number = _number(request, "allocation")
        return _json(await self._accountant.renew(caller, number, read(await request.read(), RenewCall)))

    async def report(self, request: web.Request, caller: Caller) -> web.Response:
        number = _number(request, "allocation")
        return _json(await self._accountant.report(caller, number, read(await request.read(), ReportCall)))

    async def release(self, request: web.Request, caller: Caller) -> web.Response:
        number = _number(request, "allocation")
        return _json(await self._accountant.release(caller, number, read(await request.read(), ReleaseCall)))

    async def add_token(self, request: web.Request, caller: Caller) -> web.Response:
        return _json(await self._accountant.add_token(caller, read(await request.read(), TokenCall)), status=201)

    # ------------------------------------------------------------ health
    async def healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"ok": True})

    async def metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=generate_latest(self._registry), content_type="text/plain")

    @web.middleware
    async def _explain(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Give every refusal and failure a JSON answer, and count all answers."""
        try:
            answer = await handler(request)
        except Exception as error:
            answer = _refused(_refusal_of(error, request))
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "unknown"
        self._answers.labels(request.method, route, answer.status).inc()
        return answer


def _refusal_of(error: Exception, request: web.Request) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return Refusal(Code.TOO_LARGE, f"body: more than {MAX_JSON} bytes")
    if isinstance(error, web.HTTPException):
        refusal = Refusal(Code.NOT_FOUND, f"{request.method} {request.path}: {error.reason}")
        refusal.status = error.status
        return refusal
    if isinstance(error, StoreAway):
        refusal = Refusal(Code.AWAY, str(error))
        refusal.retry_after = 10.0
        return refusal
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return Refusal(Code.INTERNAL, "the server failed; its log says why")


def _refused(refusal: Refusal) -> web.Response:
    headers = {} if refusal.retry_after is None else {"Retry-After": f"{refusal.retry_after:.0f}"}
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    problem: Problem = refusal.problem
    return _json(ProblemAnswer(error=problem), status=refusal.status, headers=headers)


def _json(answer: Answer | bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    body = answer if isinstance(answer, bytes) else msgspec.json.encode(answer)
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _number(request: web.Request, what: str) -> int:
    text = request.match_info["id"]
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise not_found(what, text)
    return int(text)

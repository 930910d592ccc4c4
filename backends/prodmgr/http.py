"""A ProdMgr over HTTP."""

import asyncio
import hashlib
import io
import ssl
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from backends.prodmgr.base import ProdMgrError, Workflow
from backends.prodmgr.wire import (
    AcquireCall,
    Body,
    ChangeCall,
    Decision,
    DeliveredFile,
    Done,
    Lease,
    MakeCall,
    Offer,
    ProblemAnswer,
    Progress,
    ReleaseCall,
    Released,
    RenewCall,
    ReportCall,
    RequestDetail,
    RequestInfo,
    RequestList,
    TokenCall,
    WorkflowAnswer,
)
from domain.policy import PolicySettings, RequestVerb
from domain.ranges import Range
from domain.spec import WorkflowSpec

if TYPE_CHECKING:  # imported with the first call: an agent that comes back has other things to do
    import aiohttp

A = TypeVar("A", bound=msgspec.Struct)

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses after which the same call may succeed later."""


class HttpProdMgr:
    """Speaks to one ProdMgr with one token, as an agent (`ProdMgr`) or as a manager (`RequestDesk`).

    `deadline_s` is for each call, connecting included; sandboxes, which are large, have ten times as long.
    """

    def __init__(
        self, url: str, token: str, *, agent: str = "", deadline_s: float = 30.0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._url = url.rstrip("/")
        self._agent = agent
        self._token = token
        self._deadline_s = deadline_s
        self._tls = tls
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    # ------------------------------------------------------------ agent
    async def acquire(
        self,
        call_id: str,
        *,
        max_events: int,
        sites: Sequence[str] = (),
        request: int | None = None,
        without: Sequence[int] = (),
    ) -> Offer:
        call = AcquireCall(
            call_id=call_id,
            agent=self._agent,
            max_events=max_events,
            sites=list(sites),
            request=request,
            without=list(without),
        )
        return await self._post("allocations", call, Offer)

    async def renew(self, call_id: str, allocation: int, fence: int, progress: Progress) -> Lease:
        call = RenewCall(call_id=call_id, fence=fence, progress=progress)
        return await self._post(f"allocations/{allocation}/renew", call, Lease)

    async def report(
        self,
        call_id: str,
        allocation: int,
        fence: int,
        *,
        done: Sequence[Range],
        lost: Sequence[Range] = (),
        files: Sequence[DeliveredFile] = (),
    ) -> Decision:
        call = ReportCall(call_id=call_id, fence=fence, done=list(done), lost=list(lost), files=list(files))
        return await self._post(f"allocations/{allocation}/report", call, Decision)

    async def release(
        self, call_id: str, allocation: int, fence: int, ranges: Sequence[Range] | None = None
    ) -> Released:
        call = ReleaseCall(call_id=call_id, fence=fence, ranges=None if ranges is None else list(ranges))
        return await self._post(f"allocations/{allocation}/release", call, Released)

    async def workflow(self, request: int) -> Workflow:
        path = f"requests/{request}/workflow"
        answer = await self._get(path, WorkflowAnswer)
        found = hashlib.sha256(bytes(answer.spec)).hexdigest()
        if found != answer.spec_checksum:
            text = f"spec_checksum: the spec has sha256 {found}, expected {answer.spec_checksum}"
            raise self._error("GET", path, text, transient=True)
        return Workflow(
            spec=self._decode("GET", path, bytes(answer.spec), WorkflowSpec),
            spec_version=answer.spec_version,
            spec_checksum=answer.spec_checksum,
            sandbox_sha256=answer.sandbox_sha256,
        )

    async def sandbox(self, sha256: str) -> bytes:
        path = f"sandboxes/{sha256}"
        content = await self._exchange("GET", path, None, self._deadline_s * 10)
        if (found := hashlib.sha256(content).hexdigest()) != sha256:
            raise self._error("GET", path, f"the content has sha256 {found}, expected {sha256}", transient=True)
        return content

    async def requests(self) -> list[RequestInfo]:
        return (await self._get("requests", RequestList)).requests

    async def request(self, request: int) -> RequestDetail:
        return await self._get(f"requests/{request}", RequestDetail)

    # ------------------------------------------------------------ manager
    async def upload(self, sandbox: bytes) -> str:
        sha256 = hashlib.sha256(sandbox).hexdigest()
        await self._exchange("PUT", f"sandboxes/{sha256}", sandbox, self._deadline_s * 10)
        return sha256

    async def make(
        self,
        call_id: str,
        spec: WorkflowSpec,
        *,
        sandbox_sha256: str = "",
        settings: PolicySettings | None = None,
        preferences: dict[str, int] | None = None,
    ) -> RequestDetail:
        call = MakeCall(
            call_id=call_id,
            spec=msgspec.Raw(msgspec.json.encode(spec)),
            sandbox_sha256=sandbox_sha256,
            settings=settings or PolicySettings(),
            preferences=preferences or {},
        )
        return await self._post("requests", call, RequestDetail)

    async def change(self, call_id: str, request: int, verb: RequestVerb, reason: str = "") -> RequestDetail:
        return await self._post(f"requests/{request}/{verb}", ChangeCall(call_id=call_id, reason=reason), RequestDetail)

    async def add_token(self, call: TokenCall) -> None:
        """Book a token by its sha256."""
        await self._post("tokens", call, Done)

    # ------------------------------------------------------------ transport
    async def _get(self, path: str, kind: type[A]) -> A:
        return self._decode("GET", path, await self._exchange("GET", path, None, self._deadline_s), kind)

    async def _post(self, path: str, call: Body, kind: type[A]) -> A:
        body = msgspec.json.encode(call)
        return self._decode("POST", path, await self._exchange("POST", path, body, self._deadline_s), kind)

    async def _exchange(self, method: str, path: str, body: bytes | None, deadline_s: float) -> bytes:
        await asyncio.to_thread(import_module, "aiohttp")
        import aiohttp

        try:
            async with asyncio.timeout(deadline_s):
                return await self._send(method, path, body)
        except TimeoutError:
            raise self._error(method, path, f"no answer in {deadline_s:g} s", transient=True) from None
        except aiohttp.InvalidURL:
            raise self._error(
                method, path, "the URL is malformed, expected http(s)://HOST:PORT", transient=False
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise self._error(method, path, str(error) or type(error).__name__, transient=True) from error

    async def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        if self._session is None:
            import aiohttp

            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        kind = "application/octet-stream" if method == "PUT" else "application/json"
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": kind}
        options: dict[str, Any] = {} if self._tls is None else {"ssl": self._tls}
        url = f"{self._url}/api/v1/{path}"
        data = None if body is None else io.BytesIO(body)  # sent in pieces: a large body would hold up the event loop
        async with self._session.request(
            method, url, data=data, headers=headers, allow_redirects=False, **options
        ) as response:
            content = await response.read()
            if response.status >= 300:
                raise self._refused(method, path, response.status, response.headers.get("Retry-After"), content)
            return content

    def _refused(self, method: str, path: str, status: int, retry_after: str | None, content: bytes) -> ProdMgrError:
        try:
            problem = msgspec.json.decode(content, type=ProblemAnswer).error
            code, text = problem.code, problem.text
        except (msgspec.MsgspecError, RecursionError):
            code, text = "", f"status {status}: {content[:100].decode(errors='replace')!r}"
        try:
            wait = None if retry_after is None else max(0.0, float(retry_after))
        except ValueError:
            wait = None
        return self._error(
            method, path, text, transient=status in TRANSIENT, status=status, code=code, retry_after=wait
        )

    def _decode(self, method: str, path: str, content: bytes, kind: type[A]) -> A:
        try:
            return msgspec.json.decode(content, type=kind)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise self._error(method, path, f"malformed answer: {error}", transient=True) from error

    def _error(self, method: str, path: str, text: str, *, transient: bool, **more: Any) -> ProdMgrError:
        return ProdMgrError(f"{method} {self._url}/api/v1/{path}: {text}", transient=transient, **more)

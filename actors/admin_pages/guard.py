"""Who may call: anybody on this machine may look, who holds the token may act.

A foreign web page in the operator's browser is kept out by three checks: the Host header must be a name of this agent
(DNS rebinding), an Origin header must be that same host (cross-site posts), and the cookie is SameSite=Strict.
"""

import hmac
import ipaddress
from urllib.parse import urlsplit

from aiohttp import web

from actors.admin_pages.refusal import Refusal

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
ALWAYS_OPEN = frozenset({"/healthz", "/readyz", "/login"})


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class Guard:
    """Decides by the headers of a request."""

    def __init__(self, host: str, token: str) -> None:
        self.host = host
        self.open = is_loopback(host)
        self._token = token

    def cookie(self, request: web.Request) -> str:
        """Name of the cookie: ports of one machine share their cookies, agents must not."""
        return f"prodagent_{urlsplit(f'//{request.host}').port or 80}"

    def check(self, request: web.Request, *, acts: bool) -> None:
        """Raise Refusal for a call that may not be."""
        self._check_host(request)
        if acts:
            self._check_origin(request)
        if (acts or not self.open) and request.path not in ALWAYS_OPEN and not self.knows(request):
            text = "expected the token of agent.json as `Authorization: Bearer …`, or as the cookie that /login sets"
            raise Refusal(401, "token_expected", text)

    def knows(self, request: web.Request) -> bool:
        """Whether the caller has shown the token."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.fits(given.strip())
        return self.fits(request.cookies.get(self.cookie(request), ""))

    def fits(self, given: str) -> bool:
        """Compare in constant time."""
        return hmac.compare_digest(given.encode(), self._token.encode())

    def _check_host(self, request: web.Request) -> None:
        try:
            name = urlsplit(f"//{request.host}").hostname or ""
        except ValueError:
            name = ""
        if self.open and name not in LOCAL_NAMES | {self.host}:
            raise Refusal(403, "foreign_host", f"Host: got {request.host[:100]!r}, expected this machine's own name")

    def _check_origin(self, request: web.Request) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.scheme}://{request.host}":
            raise Refusal(403, "foreign_origin", f"Origin: got {origin[:100]!r}, expected a page of this agent")
        if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
            raise Refusal(403, "foreign_origin", "the call comes from another site's page")

"""Who calls: bearer tokens, of which only the sha256 is stored."""

import hashlib
import secrets

import msgspec

from services.prodmgr.refusal import Code, Refusal
from storage.accounts import Scope
from storage.callers import TokenRow


class Caller(msgspec.Struct, frozen=True):
    """The name and the scope that a token stands for."""

    name: str
    scope: Scope


def new_token() -> str:
    """Return a token of 32 random bytes."""
    return secrets.token_urlsafe(32)


def digest(token: str) -> str:
    """Return what is stored of a token. It is random, so that a plain hash cannot be reversed by guessing."""
    return hashlib.sha256(token.encode()).hexdigest()


def bearer(header: str | None) -> str:
    """Return the token of an Authorization header; raise Refusal 401 if it has none."""
    kind, _, token = (header or "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise Refusal(Code.UNAUTHORIZED, "no token: expected the header 'Authorization: Bearer TOKEN'")
    return token.strip()


def admit(row: TokenRow | None, now: float) -> Caller:
    """Return whose token it is; raise Refusal 401 for an unknown or expired one."""
    if row is None:
        raise Refusal(Code.UNAUTHORIZED, "unknown token")
    if row.expires_at <= now:
        raise Refusal(Code.UNAUTHORIZED, f"the token of {row.name} has expired; make a new one")
    return Caller(row.name, row.scope)


def require(caller: Caller, *scopes: Scope) -> None:
    """Raise Refusal 403 if the token has none of the scopes."""
    if caller.scope not in scopes:
        wanted = " or ".join(scope.value for scope in scopes)
        raise Refusal(Code.FORBIDDEN, f"the token of {caller.name} has scope {caller.scope.value}, this needs {wanted}")

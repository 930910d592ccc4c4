"""Who calls a ProdMgr: tokens, answers of earlier calls, the audit."""

import msgspec
import sqlalchemy as sa

from domain.types import looked_at
from storage.accounts import Scope, audit, call, token
from storage.transaction import Tx


class TokenRow(msgspec.Struct, frozen=True, kw_only=True):
    """Whose token it is; times in UTC epoch seconds."""

    name: str
    scope: Scope
    expires_at: float


def recall(connection: sa.Connection, caller: str, call_id: str) -> tuple[str, str] | None:
    """Return (digest of the call, answer) of an earlier call."""
    row = connection.execute(
        sa.select(call.c.digest, call.c.answer).where(call.c.caller == caller, call.c.call_id == call_id)
    ).first()
    return None if row is None else (row.digest, row.answer)


def remember(tx: Tx, caller: str, call_id: str, digest: str, answer: str, keep_s: float) -> None:
    """Store the answer of a call; answers older than `keep_s` seconds go."""
    tx.connection.execute(call.delete().where(call.c.at < tx.now - keep_s))
    tx.connection.execute(call.insert().values(caller=caller, call_id=call_id, digest=digest, answer=answer, at=tx.now))


def add_token(tx: Tx, digest: str, name: str, scope: Scope, expires_at: float) -> None:
    tx.connection.execute(
        token.insert().values(digest=digest, name=name, scope=scope, created_at=tx.now, expires_at=expires_at)
    )


def find_token(connection: sa.Connection, digest: str) -> TokenRow | None:
    columns = [token.c[name] for name in TokenRow.__struct_fields__]
    row = connection.execute(sa.select(*columns).where(token.c.digest == digest)).one_or_none()
    return None if row is None else msgspec.convert(dict(zip(TokenRow.__struct_fields__, row, strict=True)), TokenRow)


def add_audit(tx: Tx, who: str, verb: str, result: str) -> None:
    tx.connection.execute(audit.insert().values(at=tx.now, who=who[:100], verb=verb[:500], result=result[:500]))


looked_at(TokenRow)

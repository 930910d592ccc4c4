"""Keep the accounts: each call is one transaction, and its answer is stored with it."""

import hashlib
from collections.abc import Callable
from typing import TypeVar

import msgspec

from backends.prodmgr.wire import (
    AcquireCall,
    Answer,
    Call,
    ChangeCall,
    Done,
    MakeCall,
    ReleaseCall,
    RenewCall,
    ReportCall,
    RequestDetail,
    RequestInfo,
    TokenCall,
    WorkflowAnswer,
)
from services.prodmgr import identity, leasing, requests, returns
from services.prodmgr.identity import Caller
from services.prodmgr.refusal import Code, Refusal, bad_input, not_found
from storage import accounts, callers
from storage.accounts import Scope
from storage.store import Store, Tx

KEEP_S = 7 * 86400.0
"""Seconds for which an answer is replayed."""
C = TypeVar("C", bound=Call)
Unit = Callable[[Tx, Caller, C], Answer]


class Accountant:
    """What the interface may ask. Every change takes a call id: repeated, it returns the stored answer (JSON)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, header: str | None) -> Caller:
        """Return whose token an Authorization header carries; raise Refusal 401."""
        sha256 = identity.digest(identity.bearer(header))
        row = await self._store.read(lambda connection: callers.find_token(connection, sha256))
        return identity.admit(row, self._store.clock.time())

    async def audit(self, who: str, verb: str, result: str) -> None:
        """Put on record what somebody tried."""
        await self._store.write(lambda tx: callers.add_audit(tx, who, verb, result))

    # ------------------------------------------------------------ agents
    async def acquire(self, caller: Caller, call: AcquireCall) -> bytes:
        return await self._once(caller, "acquire", call, leasing.acquire)

    async def renew(self, caller: Caller, number: int, call: RenewCall) -> bytes:
        return await self._once(
            caller, f"renew {number}", call, lambda tx, who, what: leasing.renew(tx, who, number, what)
        )

    async def report(self, caller: Caller, number: int, call: ReportCall) -> bytes:
        return await self._once(
            caller, f"report {number}", call, lambda tx, who, what: returns.report(tx, who, number, what)
        )

    async def release(self, caller: Caller, number: int, call: ReleaseCall) -> bytes:
        return await self._once(
            caller, f"release {number}", call, lambda tx, who, what: leasing.release(tx, who, number, what)
        )

    # ------------------------------------------------------------ managers
    async def make(self, caller: Caller, call: MakeCall) -> bytes:
        return await self._once(caller, "make", call, requests.make)

    async def change(self, caller: Caller, number: int, verb: str, call: ChangeCall) -> bytes:
        return await self._once(
            caller, f"{verb} {number}", call, lambda tx, who, what: requests.change(tx, who, number, verb, what)
        )

    async def add_token(self, caller: Caller, call: TokenCall) -> bytes:
        """Book a token of which the caller sends only the sha256."""
        return await self._once(caller, "token", call, book_token)

    async def upload(self, caller: Caller, sha256: str, content: bytes) -> Done:
        """Store a sandbox archive; raise Refusal 400 if it is not what its checksum says."""
        found = hashlib.sha256(content).hexdigest()
        if found != sha256:
            raise bad_input("sha256", sha256, f"the checksum of the body, {found}")

        def unit(tx: Tx) -> None:
            if accounts.sandbox_size(tx.connection, sha256) is None:
                callers.add_audit(tx, caller.name, "upload sandbox", f"{sha256}, {len(content)} bytes")
            accounts.add_sandbox(tx, sha256, content)

        await self._store.write(unit)
        return Done()

    # ------------------------------------------------------------ everybody
    async def requests(self) -> list[RequestInfo]:
        return await self._store.read(requests.every)

    async def request(self, number: int) -> RequestDetail:
        return await self._store.read(lambda connection: requests.detail(connection, number))

    async def workflow(self, number: int) -> WorkflowAnswer:
        return await self._store.read(lambda connection: requests.workflow(connection, number))

    async def sandbox(self, sha256: str) -> bytes:
        """Return an archive; raise Refusal 404."""
        if await self._store.read(lambda connection: accounts.sandbox_size(connection, sha256)) is None:
            raise not_found("sandbox", sha256)
        return await self._store.read(lambda connection: accounts.sandbox_content(connection, sha256))

    async def _once(self, caller: Caller, route: str, call: C, unit: Unit[C]) -> bytes:
        digest = hashlib.sha256(route.encode() + b"\n" + msgspec.json.encode(call)).hexdigest()

        def once(tx: Tx) -> str:
            earlier = callers.recall(tx.connection, caller.name, call.call_id)
            if earlier is not None:
                if earlier[0] != digest:
                    raise Refusal(Code.CALL_CONFLICT, f"call id {call.call_id} was used for another call")
                return earlier[1]
            answer = msgspec.json.encode(unit(tx, caller, call)).decode()
            callers.remember(tx, caller.name, call.call_id, digest, answer, KEEP_S)
            return answer

        return (await self._store.write(once)).encode()


def book_token(tx: Tx, caller: Caller, call: TokenCall) -> Done:
    """Store the digest of a token; raise Refusal 400 if it is there already."""
    if callers.find_token(tx.connection, call.sha256) is not None:
        raise bad_input("sha256", call.sha256, "the digest of a new token")
    callers.add_token(tx, call.sha256, call.agent, Scope(call.scope), tx.now + call.days * 86400)
    callers.add_audit(tx, caller.name, f"make token for {call.agent}", f"scope {call.scope}, {call.days:g} days")
    return Done()

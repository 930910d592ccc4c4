"""The contract of a ProdMgr: what an agent and a manager may ask of it."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from backends.prodmgr.wire import (
    Allocation,
    Decision,
    DeliveredFile,
    Lease,
    Ledger,
    Offer,
    Progress,
    Released,
    RequestDetail,
    RequestInfo,
)
from domain.policy import PolicySettings, RequestVerb
from domain.ranges import Range
from domain.spec import WorkflowSpec

__all__ = [
    "Allocation",
    "Decision",
    "DeliveredFile",
    "Lease",
    "Ledger",
    "Offer",
    "ProdMgr",
    "ProdMgrError",
    "Progress",
    "Released",
    "RequestDesk",
    "RequestDetail",
    "RequestInfo",
    "Workflow",
]


class Workflow(msgspec.Struct, frozen=True, kw_only=True):
    """The workflow of a request as fetched, its checksum verified; `sandbox_sha256` is "" where it has no files."""

    spec: WorkflowSpec
    spec_version: int
    spec_checksum: str
    sandbox_sha256: str


class ProdMgrError(Exception):
    """A ProdMgr did not do what was asked.

    `transient`: the same call with the same call id may succeed later, after `retry_after` seconds if given.
    `status` is the HTTP status (0: no answer), `code` the ProdMgr's word for the problem ("" where it gave none).
    """

    def __init__(
        self, text: str, *, transient: bool, status: int = 0, code: str = "", retry_after: float | None = None
    ) -> None:
        super().__init__(text)
        self.transient = transient
        self.status = status
        self.code = code
        self.retry_after = retry_after


class ProdMgr(Protocol):
    """One ProdMgr as one agent sees it.

    Every call has a deadline and raises ProdMgrError. Nothing is retried here: the caller writes down its call id
    (8 to 100 of A-Z a-z 0-9 _ . : -) before it calls, and after any doubt repeats the call with the same id and the
    same arguments. The effect then happens once, and within 7 days the answer is the first one. The same id with other
    arguments is refused with status 409, code "call_conflict".
    """

    async def close(self) -> None:
        """Let go of connections; safe to repeat."""

    async def acquire(
        self,
        call_id: str,
        *,
        max_events: int,
        sites: Sequence[str] = (),
        request: int | None = None,
        without: Sequence[int] = (),
    ) -> Offer:
        """Lease free ranges of at most `max_events` events, of `request` or of any that may run at one of `sites`,
        but of none in `without`: requests that this agent cannot run.

        The ranges of all unended leases of a request are disjoint. Ranges whose lease has ended are handed out again
        under a higher fence. Raises 404 for an unknown request, 409 "request_finished" for one that offers no work any
        more, 429 "cool_off" with `retry_after`.
        """

    async def renew(self, call_id: str, allocation: int, fence: int, progress: Progress) -> Lease:
        """Prolong a lease to its full length from now. Raises 409 "lease_ended" when the range was handed out again,
        "already_returned" when the allocation was reported or released, "wrong_fence", "request_finished"."""

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
        """Return an allocation: `done` events are in delivered files, `lost` ones were tried and given up, the rest
        was not tried. The decision says what follows; the allocation is closed by it.

        After its lease ended a report is recorded, and counted only where the range is still open. Raises 409
        "already_returned" for a second report, 400 for ranges that overlap or lie outside the allocation.
        """

    async def release(
        self, call_id: str, allocation: int, fence: int, ranges: Sequence[Range] | None = None
    ) -> Released:
        """Return unstarted work (all by default) without blame; it is offered again at once."""

    async def workflow(self, request: int) -> Workflow:
        """Fetch the workflow of a request. Raises 404; 410 "workflow_gone"."""

    async def sandbox(self, sha256: str) -> bytes:
        """Fetch a sandbox archive (tar.gz), its checksum verified. Raises 404."""

    async def requests(self) -> list[RequestInfo]:
        """Return all requests with their ledgers."""

    async def request(self, request: int) -> RequestDetail:
        """Return one request. Raises 404."""


class RequestDesk(Protocol):
    """One ProdMgr as a manager sees it; call ids as for ProdMgr."""

    async def upload(self, sandbox: bytes) -> str:
        """Store a sandbox archive and return its sha256; repeatable. Raises 413 above the size limit."""

    async def make(
        self,
        call_id: str,
        spec: WorkflowSpec,
        *,
        sandbox_sha256: str = "",
        settings: PolicySettings | None = None,
        preferences: dict[str, int] | None = None,
    ) -> RequestDetail:
        """Make a request for the events of `spec`. Raises 400 for a spec or sandbox that will not do."""

    async def change(self, call_id: str, request: int, verb: RequestVerb, reason: str = "") -> RequestDetail:
        """Suspend, resume or fail a request. Raises 404; 409 "illegal_move"."""

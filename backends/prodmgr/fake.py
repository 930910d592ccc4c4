"""A ProdMgr in memory, for tests and trials; it keeps the contract and forgets everything at the end."""

import hashlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec

from backends.prodmgr.base import ProdMgrError, Workflow
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
from domain.policy import (
    FREE,
    OFFERED,
    Pieces,
    PieceState,
    PolicySettings,
    RequestState,
    RequestVerb,
    Return,
    Verdict,
    cut,
    hand_out,
    request_after,
    settle,
    take_back,
)
from domain.ranges import Range, first_overlap, intersect, subtract, total, union
from domain.siting import reachable
from domain.spec import WorkflowSpec
from domain.transition import IllegalMove

T = TypeVar("T")
Closed = frozenset({RequestState.COMPLETE, RequestState.FAILED})


class _Request:
    """One request: its numbers and its pieces."""

    def __init__(self, number: int, spec: WorkflowSpec, sandbox_sha256: str, settings: PolicySettings) -> None:
        self.number = number
        self.spec = spec
        self.sandbox_sha256 = sandbox_sha256
        self.settings = settings
        self.preferences: dict[str, int] = {}
        self.state = RequestState.NEW
        self.fence = 0
        self.expanded = 0
        self.pieces: Pieces = [(Range(spec.first_event, spec.events), FREE)]

    def move(self, verb: RequestVerb) -> None:
        self.state = request_after(self.state, verb)

    def sum(self, state: PieceState) -> int:
        return total(piece for piece, holding in self.pieces if holding.state is state)

    @property
    def events(self) -> int:
        return self.spec.events + self.expanded

    @property
    def checksum(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self.spec)).hexdigest()


class _Held:
    """One allocation and who has it."""

    def __init__(self, agent: str, offered: Allocation) -> None:
        self.agent = agent
        self.offered = offered
        self.whole = Range(offered.first_event, offered.events)
        self.lease_until = offered.lease_until
        self.expired = False
        self.closed = False


class FakeBooks:
    """What a ProdMgr remembers; several FakeProdMgr (one per agent) may share it. `now` tells the time.

    An error put into `faults` is raised by the next call instead of an answer, before (`lost_answers` False) or after
    (True) the call took effect.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self.now = now
        self.requests: dict[int, _Request] = {}
        self.held: dict[int, _Held] = {}
        self.calls: dict[tuple[str, str], tuple[object, object]] = {}
        self.sandboxes: dict[str, bytes] = {}
        self.faults: list[ProdMgrError] = []
        self.lost_answers = False

    def once(self, caller: str, call_id: str, what: object, unit: Callable[[], T]) -> T:
        """Run `unit`, or return the answer of an earlier call with this id."""
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and not self.lost_answers:
            raise fault
        known = self.calls.get((caller, call_id))
        if known is not None and known[0] != what:
            raise refused(409, "call_conflict", f"call id {call_id} was used for another call")
        if known is None:
            known = self.calls[caller, call_id] = (what, unit())
        if fault is not None:
            raise fault
        answer: Any = known[1]
        return answer  # type: ignore[no-any-return]

    def find(self, number: int) -> _Request:
        if number not in self.requests:
            raise refused(404, "not_found", f"there is no request {number}")
        return self.requests[number]

    def find_held(self, agent: str, number: int, fence: int) -> _Held:
        held = self.held.get(number)
        if held is None:
            raise refused(404, "not_found", f"there is no allocation {number}")
        if held.agent != agent:
            raise refused(403, "forbidden", f"allocation {number} belongs to agent {held.agent}")
        if held.offered.fence != fence:
            raise refused(409, "wrong_fence", f"allocation {number} has fence {held.offered.fence}, not {fence}")
        if held.closed:
            raise refused(409, "already_returned", f"allocation {number} was returned already")
        return held

    def free_overdue(self, request: _Request) -> None:
        for number, held in self.held.items():
            live = held.offered.request == request.number and not held.closed and not held.expired
            if live and held.lease_until <= self.now():
                held.expired = True
                request.pieces = take_back(request.pieces, number)


class FakeProdMgr:
    """One agent's or manager's view of FakeBooks; implements `ProdMgr` and `RequestDesk`."""

    def __init__(self, books: FakeBooks | None = None, agent: str = "agent") -> None:
        self.books = books or FakeBooks()
        self.agent = agent

    async def close(self) -> None:
        """Nothing is open."""

    async def acquire(
        self,
        call_id: str,
        *,
        max_events: int,
        sites: Sequence[str] = (),
        request: int | None = None,
        without: Sequence[int] = (),
    ) -> Offer:
        what = ("acquire", max_events, tuple(sites), request, tuple(without))
        return self.books.once(self.agent, call_id, what, lambda: self._acquire(max_events, sites, request, without))

    def _acquire(self, budget: int, sites: Sequence[str], number: int | None, without: Sequence[int]) -> Offer:
        if number is not None and self.books.find(number).state in Closed:
            raise refused(409, "request_finished", f"request {number} is finished")
        chosen = [found for found in self.books.requests.values() if number in (None, found.number)]
        suited = [found for found in chosen if found.state in OFFERED and found.number not in without]
        suited = [found for found in suited if reachable(found.spec, sites)]
        offered: list[Allocation] = []
        for request in sorted(suited, key=lambda found: (-self._priority(found), found.number)):
            self.books.free_overdue(request)
            if offered and budget < request.spec.events_per_job:
                continue
            size = request.settings.jobs_per_allocation * request.spec.events_per_job
            for piece in cut(_free(request), size, request.spec.events_per_job, budget):
                offered.append(self._lease(request, piece))
                budget -= piece.events
        return Offer(allocations=offered, exhausted=not any(_free(request) for request in suited))

    def _lease(self, request: _Request, piece: Range) -> Allocation:
        if request.state is RequestState.NEW:
            request.move(RequestVerb.START)
        request.fence += 1
        allocation = Allocation(
            id=len(self.books.held) + 1,
            fence=request.fence,
            request=request.number,
            first_event=piece.first,
            events=piece.events,
            lease_until=self.books.now() + request.settings.lease_s,
            priority=self._priority(request),
            spec_version=1,
            spec_checksum=request.checksum,
        )
        self.books.held[allocation.id] = _Held(self.agent, allocation)
        request.pieces = hand_out(request.pieces, piece, allocation.id)
        return allocation

    def _priority(self, request: _Request) -> int:
        return request.preferences.get(self.agent, request.spec.priority)

    async def renew(self, call_id: str, allocation: int, fence: int, progress: Progress) -> Lease:
        return self.books.once(
            self.agent, call_id, ("renew", allocation, fence, progress), lambda: self._renew(allocation, fence)
        )

    def _renew(self, number: int, fence: int) -> Lease:
        held = self._leased(number, fence)
        request = self.books.find(held.offered.request)
        if request.state in Closed:
            raise refused(409, "request_finished", f"request {request.number} is finished")
        held.lease_until = self.books.now() + request.settings.lease_s
        return Lease(lease_until=held.lease_until, request_state=request.state)

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
        what = ("report", allocation, fence, tuple(done), tuple(lost), tuple(files))
        return self.books.once(self.agent, call_id, what, lambda: self._report(allocation, fence, done, lost))

    def _report(self, number: int, fence: int, done: Sequence[Range], lost: Sequence[Range]) -> Decision:
        held = self.books.find_held(self.agent, number, fence)
        if subtract([*done, *lost], [held.whole]) or first_overlap([*done, *lost]):
            raise refused(400, "bad_input", "done, lost: ranges overlap or lie outside the allocation")
        request = self.books.find(held.offered.request)
        back = Return(number, held.whole, done, lost)
        result = settle(request.pieces, back, request.events, request.sum(PieceState.LOST), request.settings)
        request.pieces, ranges = result.pieces, result.ranges
        if result.added:
            ranges = [Range(request.spec.first_event + request.events, result.added)]
            request.pieces = [*request.pieces, (ranges[0], FREE)]
            request.expanded += result.added
        held.closed = True
        _follow(request, result.ruling.verdict)
        return Decision(
            verdict=result.ruling.verdict,
            reason=result.ruling.reason,
            ranges=ranges,
            counted=result.counted,
            refused=result.refused,
            late=held.expired,
            request_state=request.state,
        )

    async def release(
        self, call_id: str, allocation: int, fence: int, ranges: Sequence[Range] | None = None
    ) -> Released:
        what = ("release", allocation, fence, None if ranges is None else tuple(ranges))
        return self.books.once(self.agent, call_id, what, lambda: self._release(allocation, fence, ranges))

    def _release(self, number: int, fence: int, ranges: Sequence[Range] | None) -> Released:
        held = self._leased(number, fence)
        if ranges is not None and subtract(ranges, [held.whole]):
            raise refused(400, "bad_input", "ranges: outside the allocation")
        request = self.books.find(held.offered.request)
        owned = union(piece for piece, holding in request.pieces if holding.allocation == number)
        returned = owned if ranges is None else intersect(owned, ranges)
        request.pieces = take_back(request.pieces, number, ranges)
        held.closed = returned == owned
        return Released(returned=returned, held=total(owned) - total(returned))

    def _leased(self, number: int, fence: int) -> _Held:
        held = self.books.find_held(self.agent, number, fence)
        if held.expired:
            raise refused(409, "lease_ended", f"the lease of allocation {number} ended")
        return held

    async def workflow(self, request: int) -> Workflow:
        found = self.books.find(request)
        return Workflow(
            spec=found.spec, spec_version=1, spec_checksum=found.checksum, sandbox_sha256=found.sandbox_sha256
        )

    async def sandbox(self, sha256: str) -> bytes:
        if sha256 not in self.books.sandboxes:
            raise refused(404, "not_found", f"there is no sandbox {sha256}")
        return self.books.sandboxes[sha256]

    async def requests(self) -> list[RequestInfo]:
        return [_info(request) for request in self.books.requests.values()]

    async def request(self, request: int) -> RequestDetail:
        return _detail(self.books.find(request))

    # ------------------------------------------------------------ manager
    async def upload(self, sandbox: bytes) -> str:
        sha256 = hashlib.sha256(sandbox).hexdigest()
        self.books.sandboxes[sha256] = sandbox
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
        what = ("make", spec, sandbox_sha256, settings, preferences)
        return self.books.once(
            self.agent, call_id, what, lambda: self._make(spec, sandbox_sha256, settings, preferences)
        )

    def _make(
        self, spec: WorkflowSpec, sha256: str, settings: PolicySettings | None, preferences: dict[str, int] | None
    ) -> RequestDetail:
        if (spec.files or sha256) and sha256 not in self.books.sandboxes:
            raise refused(400, "bad_input", f"sandbox_sha256: got {sha256!r}, expected an uploaded archive")
        request = _Request(len(self.books.requests) + 1, spec, sha256, settings or PolicySettings())
        request.preferences = preferences or {}
        self.books.requests[request.number] = request
        return _detail(request)

    async def change(self, call_id: str, request: int, verb: RequestVerb, reason: str = "") -> RequestDetail:
        return self.books.once(
            self.agent, call_id, ("change", request, verb, reason), lambda: self._change(request, verb)
        )

    def _change(self, number: int, verb: RequestVerb) -> RequestDetail:
        request = self.books.find(number)
        try:
            request.move(verb)
        except IllegalMove as error:
            raise refused(409, "illegal_move", str(error)) from None
        return _detail(request)


def refused(status: int, code: str, text: str) -> ProdMgrError:
    """The error of a call that a ProdMgr refuses."""
    return ProdMgrError(text, transient=False, status=status, code=code)


def _free(request: _Request) -> list[Range]:
    return [piece for piece, holding in request.pieces if holding.state is PieceState.FREE]


def _follow(request: _Request, verdict: Verdict) -> None:
    """Move the request where its pieces or the verdict say so."""
    if request.sum(PieceState.FREE) == request.sum(PieceState.LEASED) == 0:
        if request.state not in Closed:
            request.move(RequestVerb.COMPLETE)
    elif verdict is Verdict.SUSPEND and request.state in OFFERED:
        request.move(RequestVerb.SUSPEND)


def _info(request: _Request) -> RequestInfo:
    return RequestInfo(
        id=request.number,
        name=request.spec.name,
        kind="events",
        state=request.state,
        since=0.0,
        reason="",
        priority=request.spec.priority,
        first_event=request.spec.first_event,
        ledger=Ledger(
            requested=request.events,
            merged=request.sum(PieceState.MERGED),
            leased=request.sum(PieceState.LEASED),
            unassigned=request.sum(PieceState.FREE),
            lost=request.sum(PieceState.LOST),
            expanded=request.expanded,
        ),
        created_at=0.0,
        created_by="fake",
        spec_version=1,
        spec_checksum=request.checksum,
        sandbox_sha256=request.sandbox_sha256,
    )


def _detail(request: _Request) -> RequestDetail:
    return RequestDetail(
        **msgspec.structs.asdict(_info(request)),
        settings=request.settings,
        preferences=request.preferences,
        agents=[],
        rulings=[],
    )

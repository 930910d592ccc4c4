"""Hand out ranges of requests, prolong their leases, take back what was not started."""

from collections.abc import Sequence
from functools import lru_cache

import msgspec

from backends.prodmgr.wire import AcquireCall, Allocation, Lease, Offer, ReleaseCall, Released, RenewCall
from domain.policy import OFFERED, PolicySettings, RequestState, RequestVerb, cut, hand_out, take_back
from domain.ranges import Range, intersect, subtract, total, union
from domain.siting import reachable
from domain.spec import WorkflowSpec
from services.prodmgr.identity import Caller
from services.prodmgr.refusal import Code, Refusal, bad_input, not_found
from storage import accounts
from storage.accounts import AllocationRow, AllocationState, RequestRow
from storage.transaction import Tx

MOST = 100
"""Most allocations in one offer."""


def acquire(tx: Tx, caller: Caller, call: AcquireCall) -> Offer:
    """Lease free ranges, the most urgent request first."""
    if call.agent != caller.name:
        raise Refusal(Code.FORBIDDEN, f"the token belongs to agent {caller.name}, the call names {call.agent}")
    budget = call.max_events
    offered: list[Allocation] = []
    suited = _suited(tx, call)
    for row in suited:
        free_overdue(tx, row)
        if offered and budget < row.events_per_job:
            continue
        leased = _lease_some(tx, row, call.agent, budget, MOST - len(offered))
        budget -= sum(allocation.events for allocation in leased)
        offered.extend(leased)
    left = any(accounts.free_ranges(tx.connection, row.id, 1) for row in suited)
    return Offer(allocations=offered, exhausted=not left)


def _suited(tx: Tx, call: AcquireCall) -> list[RequestRow]:
    """Return the requests that this agent may work on, the most urgent first."""
    if call.request is None:
        rows = accounts.requests(tx.connection, *OFFERED)
    else:
        row = find_request(tx, call.request)
        if row.state in (RequestState.COMPLETE, RequestState.FAILED):
            raise Refusal(Code.REQUEST_FINISHED, f"request {row.id} is {row.state.value}: {row.reason}")
        rows = [row] if row.state in OFFERED else []
    able = [row for row in rows if row.id not in call.without and reachable(_spec(row.spec), call.sites)]
    return sorted(able, key=lambda row: (-_priority(row, call.agent), row.id))


def _lease_some(tx: Tx, row: RequestRow, agent: str, budget: int, most: int) -> list[Allocation]:
    settings = settings_of(row)
    free = accounts.free_ranges(tx.connection, row.id, most)
    size = settings.jobs_per_allocation * row.events_per_job
    ranges = cut(free, size, row.events_per_job, budget)[:most]
    if ranges and row.state is RequestState.NEW:
        accounts.move_request(tx, row.id, RequestVerb.START, f"first allocation to {agent}")
    return [_lease(tx, row, agent, piece, tx.now + settings.lease_s) for piece in ranges]


def _lease(tx: Tx, row: RequestRow, agent: str, piece: Range, until: float) -> Allocation:
    fence = accounts.next_fence(tx, row.id)
    number = accounts.add_allocation(
        tx,
        request_id=row.id,
        agent=agent,
        fence=fence,
        first_event=piece.first,
        events=piece.events,
        lease_until=until,
        progress="{}",
    )
    before = accounts.pieces(tx.connection, row.id, piece)
    accounts.repaint(tx, row.id, before, hand_out(before, piece, number))
    accounts.check(tx, row, piece)
    return Allocation(
        id=number,
        fence=fence,
        request=row.id,
        first_event=piece.first,
        events=piece.events,
        lease_until=until,
        priority=_priority(row, agent),
        spec_version=row.spec_version,
        spec_checksum=row.spec_checksum,
    )


def free_overdue(tx: Tx, row: RequestRow) -> None:
    """Free the ranges of a request whose leases have ended; their next holders get higher fences."""
    for old in accounts.overdue(tx, row.id):
        _let_go(tx, row, old, None)
        accounts.close_allocation(tx, old, AllocationState.EXPIRED)


def renew(tx: Tx, caller: Caller, number: int, call: RenewCall) -> Lease:
    """Prolong a lease that has not been given to somebody else."""
    old = find_leased(tx, caller, number, call.fence)
    row = find_request(tx, old.request_id)
    if row.state in (RequestState.COMPLETE, RequestState.FAILED):
        raise Refusal(Code.REQUEST_FINISHED, f"request {row.id} is {row.state.value}: {row.reason}")
    until = tx.now + settings_of(row).lease_s
    accounts.update_allocation(tx, old.id, lease_until=until, progress=msgspec.json.encode(call.progress).decode())
    return Lease(lease_until=until, request_state=row.state)


def release(tx: Tx, caller: Caller, number: int, call: ReleaseCall) -> Released:
    """Take back what was not started; an allocation that holds nothing any more is closed."""
    old = find_leased(tx, caller, number, call.fence)
    row = find_request(tx, old.request_id)
    if call.ranges is not None:
        inside(old, "ranges", call.ranges)
    returned, held = _let_go(tx, row, old, call.ranges)
    if held == 0:
        accounts.close_allocation(tx, old, AllocationState.RELEASED)
    return Released(returned=returned, held=held)


def _let_go(tx: Tx, row: RequestRow, old: AllocationRow, ranges: Sequence[Range] | None) -> tuple[list[Range], int]:
    whole = Range(old.first_event, old.events)
    before = accounts.pieces(tx.connection, row.id, whole)
    held = union(piece for piece, holding in before if holding.allocation == old.id)
    accounts.repaint(tx, row.id, before, take_back(before, old.id, ranges))
    accounts.check(tx, row, whole)
    returned = held if ranges is None else intersect(held, ranges)
    return returned, total(subtract(held, returned))


def find_request(tx: Tx, number: int) -> RequestRow:
    """Return a request; raise Refusal 404."""
    row = accounts.find_request(tx.connection, number)
    if row is None:
        raise not_found("request", number)
    return row


def find_own(tx: Tx, caller: Caller, number: int, fence: int) -> AllocationRow:
    """Return the caller's own allocation; raise Refusal 404, 403 or 409."""
    row = accounts.find_allocation(tx.connection, number)
    if row is None:
        raise not_found("allocation", number)
    if row.agent != caller.name:
        raise Refusal(Code.FORBIDDEN, f"allocation {number} belongs to agent {row.agent}, not to {caller.name}")
    if row.fence != fence:
        raise Refusal(Code.WRONG_FENCE, f"allocation {number} has fence {row.fence}, the call has {fence}")
    if row.state in (AllocationState.REPORTED, AllocationState.RELEASED):
        raise Refusal(Code.ALREADY_RETURNED, f"allocation {number} was {row.state.value} already")
    return row


def find_leased(tx: Tx, caller: Caller, number: int, fence: int) -> AllocationRow:
    """As `find_own`; also raise Refusal 409 if its range was freed after its lease ended."""
    row = find_own(tx, caller, number, fence)
    if row.state is AllocationState.EXPIRED:
        raise Refusal(Code.LEASE_ENDED, f"the lease of allocation {number} ended and its range was freed")
    return row


def inside(row: AllocationRow, field: str, ranges: Sequence[Range]) -> None:
    """Raise Refusal 400 if a range lies outside the allocation."""
    whole = Range(row.first_event, row.events)
    if outside := subtract(ranges, [whole]):
        raise bad_input(field, list(outside[0]), f"ranges inside [{whole.first}, {whole.events}]")


def settings_of(row: RequestRow) -> PolicySettings:
    return msgspec.json.decode(row.settings, type=PolicySettings)


@lru_cache(maxsize=1000)
def _spec(text: str) -> WorkflowSpec:
    return msgspec.json.decode(text, type=WorkflowSpec)


def _priority(row: RequestRow, agent: str) -> int:
    return msgspec.json.decode(row.preferences, type=dict[str, int]).get(agent, row.priority)

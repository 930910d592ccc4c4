"""Settle what an agent brings back."""

import msgspec

from backends.prodmgr.wire import Decision, ReportCall
from domain.policy import (
    REQUEST_TABLE,
    PieceState,
    RequestState,
    RequestVerb,
    Return,
    Settlement,
    Verdict,
    settle,
)
from domain.ranges import Range, first_overlap, total
from services.prodmgr.identity import Caller
from services.prodmgr.leasing import find_own, find_request, inside, settings_of
from services.prodmgr.refusal import bad_input
from storage import accounts
from storage.accounts import AllocationRow, AllocationState, RequestRow
from storage.transaction import Tx


def report(tx: Tx, caller: Caller, number: int, call: ReportCall) -> Decision:
    """Book done and lost events, ask the policy what follows, do it, and keep the ruling with its inputs."""
    old = find_own(tx, caller, number, call.fence)
    _examine(old, call)
    row = find_request(tx, old.request_id)
    whole = Range(old.first_event, old.events)
    before = accounts.pieces(tx.connection, row.id, whole)
    lost = accounts.ledger(tx.connection, row.id)[row.id][PieceState.LOST]
    settlement = settle(before, Return(old.id, whole, call.done, call.lost), row.events, lost, settings_of(row))
    accounts.repaint(tx, row.id, before, settlement.pieces)
    ranges = settlement.ranges
    if settlement.added:
        ranges = [accounts.expand_request(tx, row, settlement.added)]
        row = find_request(tx, row.id)
    state = _move(tx, row, settlement, accounts.check(tx, row, whole))
    late = old.state is AllocationState.EXPIRED
    decision = Decision(
        verdict=settlement.ruling.verdict,
        reason=settlement.ruling.reason,
        ranges=ranges,
        counted=settlement.counted,
        refused=settlement.refused,
        late=late,
        request_state=state,
    )
    _record(tx, old, call, settlement, decision)
    return decision


def _examine(old: AllocationRow, call: ReportCall) -> None:
    inside(old, "done", call.done)
    inside(old, "lost", call.lost)
    if overlap := first_overlap([*call.done, *call.lost]):
        first, second = (list(piece) for piece in overlap)
        raise bad_input("done, lost", second, f"each event once, but it shares events with {first}")


def _move(tx: Tx, row: RequestRow, settlement: Settlement, sums: dict[PieceState, int]) -> RequestState:
    """Move the request where the ledger or the ruling says so; return its state."""
    verb: RequestVerb | None = None
    reason = settlement.ruling.reason
    if sums[PieceState.FREE] == 0 and sums[PieceState.LEASED] == 0:
        verb = RequestVerb.COMPLETE
        reason = f"{sums[PieceState.MERGED]} of {row.events} events merged, {sums[PieceState.LOST]} lost"
    elif settlement.ruling.verdict is Verdict.SUSPEND:
        verb = RequestVerb.SUSPEND
    if verb is None or row.state not in REQUEST_TABLE[verb].sources:
        return row.state
    accounts.move_request(tx, row.id, verb, reason)
    return REQUEST_TABLE[verb].target


def _record(tx: Tx, old: AllocationRow, call: ReportCall, settlement: Settlement, decision: Decision) -> None:
    complete = decision.verdict in (Verdict.COMPLETE, Verdict.EXPAND) and not decision.late
    lost = settlement.inputs.lost + (settlement.inputs.untried if decision.verdict is Verdict.COMPLETE else 0)
    merged = total(settlement.counted)
    accounts.close_allocation(tx, old, AllocationState.REPORTED, merged=merged, lost=lost if complete else 0)
    accounts.add_report(
        tx,
        allocation_id=old.id,
        late=int(decision.late),
        body=msgspec.json.encode(call).decode(),
        inputs=msgspec.json.encode(settlement.inputs).decode(),
        decision=msgspec.json.encode(decision).decode(),
        verdict=decision.verdict,
        reason=decision.reason[:500],
    )

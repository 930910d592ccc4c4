"""Make, show and steer requests."""

import hashlib

import msgspec

from backends.prodmgr.wire import (
    AgentShare,
    ChangeCall,
    Ledger,
    MakeCall,
    Progress,
    RequestDetail,
    RequestInfo,
    RulingNote,
    WorkflowAnswer,
)
from domain.policy import PieceState, RequestVerb, Verdict
from domain.ranges import LARGEST, Range
from domain.spec import WorkflowSpec
from domain.transition import IllegalMove
from services.prodmgr.bodies import misfit
from services.prodmgr.identity import Caller
from services.prodmgr.leasing import find_request, settings_of
from services.prodmgr.refusal import Code, Refusal, bad_input, not_found
from storage import accounts, callers
from storage.accounts import AllocationRow, AllocationState, Connection, RequestRow
from storage.transaction import Tx

RULINGS = 20
"""Rulings shown with a request."""
MANAGERS_VERBS = (RequestVerb.SUSPEND, RequestVerb.RESUME, RequestVerb.FAIL)


def make(tx: Tx, caller: Caller, call: MakeCall) -> RequestDetail:
    """Book a request; its spec is kept byte for byte, so that its checksum holds wherever it travels."""
    if call.kind != "events":
        raise bad_input("kind", call.kind, "'events': requests by files are not handled yet")
    try:
        spec = msgspec.json.decode(call.spec, type=WorkflowSpec)
    except msgspec.ValidationError as error:
        raise misfit(error, bytes(call.spec), "spec") from None
    if spec.first_event + spec.events > LARGEST:
        raise bad_input("spec.events", spec.events, f"first_event + events of at most {LARGEST}")
    if spec.files and not call.sandbox_sha256:
        raise bad_input("sandbox_sha256", "", f"the archive of the {len(spec.files)} files of the workflow")
    if call.sandbox_sha256 and accounts.sandbox_size(tx.connection, call.sandbox_sha256) is None:
        raise bad_input("sandbox_sha256", call.sandbox_sha256, "an archive that was uploaded before (PUT /sandboxes)")
    row = accounts.add_request(
        tx,
        name=spec.name,
        kind=call.kind,
        priority=spec.priority,
        first_event=spec.first_event,
        events=spec.events,
        events_per_job=spec.events_per_job,
        sites=_json(spec.sites),
        spec=bytes(call.spec).decode(),
        spec_version=1,
        spec_checksum=hashlib.sha256(bytes(call.spec)).hexdigest(),
        sandbox_sha256=call.sandbox_sha256,
        preferences=_json(call.preferences),
        settings=_json(call.settings),
        created_by=caller.name,
    )
    accounts.check(tx, row, Range(row.first_event, row.events))
    callers.add_audit(tx, caller.name, "make request", f"request {row.id}: {row.name}, {row.events} events")
    return detail(tx.connection, row.id)


def change(tx: Tx, caller: Caller, number: int, verb: str, call: ChangeCall) -> RequestDetail:
    """Suspend, resume or fail a request on a manager's word."""
    row = find_request(tx, number)
    if verb not in MANAGERS_VERBS:
        raise bad_input("verb", verb, "one of suspend, resume, fail")
    try:
        accounts.move_request(tx, number, RequestVerb(verb), call.reason or f"{verb} by {caller.name}")
    except IllegalMove:
        raise Refusal(Code.ILLEGAL_MOVE, f"request {number} is {row.state.value}: {verb} is not possible") from None
    callers.add_audit(tx, caller.name, f"{verb} request {number}", call.reason or "done")
    return detail(tx.connection, number)


def every(connection: Connection) -> list[RequestInfo]:
    """Return all requests with their ledgers."""
    ledgers = accounts.ledger(connection)
    return [_info(row, ledgers.get(row.id, {})) for row in accounts.requests(connection)]


def detail(connection: Connection, number: int) -> RequestDetail:
    """Return one request with its agents and latest rulings; raise Refusal 404."""
    row = _find(connection, number)
    info = _info(row, accounts.ledger(connection, number).get(number, {}))
    return RequestDetail(
        **msgspec.structs.asdict(info),
        settings=settings_of(row),
        preferences=msgspec.json.decode(row.preferences, type=dict[str, int]),
        agents=_shares(connection, number),
        rulings=[
            RulingNote(
                at=note["at"],
                agent=note["agent"],
                allocation=note["allocation"],
                verdict=Verdict(note["verdict"]),
                reason=note["reason"],
            )
            for note in accounts.reports(connection, number, RULINGS)
        ],
    )


def workflow(connection: Connection, number: int) -> WorkflowAnswer:
    """Return the workflow of a request as it was given."""
    row = _find(connection, number)
    size = accounts.sandbox_size(connection, row.sandbox_sha256) if row.sandbox_sha256 else 0
    if size is None:
        raise Refusal(Code.WORKFLOW_GONE, f"the sandbox of request {number} is not there any more")
    return WorkflowAnswer(
        spec=msgspec.Raw(row.spec.encode()),
        spec_version=row.spec_version,
        spec_checksum=row.spec_checksum,
        sandbox_sha256=row.sandbox_sha256,
        sandbox_size=size,
    )


def _find(connection: Connection, number: int) -> RequestRow:
    row = accounts.find_request(connection, number)
    if row is None:
        raise not_found("request", number)
    return row


def _info(row: RequestRow, sums: dict[PieceState, int]) -> RequestInfo:
    fields = {
        name: value for name, value in msgspec.structs.asdict(row).items() if name in RequestInfo.__struct_fields__
    }
    ledger = Ledger(
        requested=row.events,
        merged=sums.get(PieceState.MERGED, 0),
        leased=sums.get(PieceState.LEASED, 0),
        unassigned=sums.get(PieceState.FREE, 0),
        lost=sums.get(PieceState.LOST, 0),
        expanded=row.expanded,
    )
    return RequestInfo(**fields, ledger=ledger)


def _shares(connection: Connection, number: int) -> list[AgentShare]:
    held: dict[int, int] = {}
    for piece, holding in accounts.pieces(connection, number):
        if holding.allocation is not None:
            held[holding.allocation] = held.get(holding.allocation, 0) + piece.events
    by_agent: dict[str, list[AllocationRow]] = {}
    for row in accounts.allocations(connection, number):
        by_agent.setdefault(row.agent, []).append(row)
    return [_share(agent, rows, held) for agent, rows in sorted(by_agent.items())]


def _share(agent: str, rows: list[AllocationRow], held: dict[int, int]) -> AgentShare:
    live = [row for row in rows if row.state is AllocationState.LEASED]
    progress = [msgspec.json.decode(row.progress, type=Progress) for row in live]
    return AgentShare(
        agent=agent,
        allocations=len(rows),
        leased=sum(held.get(row.id, 0) for row in live),
        merged=sum(row.merged for row in rows),
        lost=sum(row.lost for row in rows),
        progress=Progress(
            done=sum(part.done for part in progress),
            running=sum(part.running for part in progress),
            queued=sum(part.queued for part in progress),
            failed=sum(part.failed for part in progress),
        ),
    )


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()

"""The accounts of a ProdMgr: requests, the pieces they are cut into, who holds them, and what was answered."""

from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa

from domain.policy import REQUEST_TABLE, Holding, Pieces, PieceState, RequestState, RequestVerb
from domain.ranges import Range
from domain.transition import IllegalMove
from domain.types import looked_at
from storage.schema import NAMING, Id, Line, Schema, Time, Word, lease_table, one_of
from storage.transaction import Tx

R = TypeVar("R", bound=msgspec.Struct)
Connection = sa.Connection

PART = 1024 * 1024
"""Bytes of a sandbox in one row: far below the default max_allowed_packet of MariaDB."""
LONG = sa.Text(2**24 - 1)
Digest = sa.String(64)
Exact = sa.String(100, collation="utf8mb4_bin").with_variant(sa.String(100), "sqlite")


class AllocationState(StrEnum):
    LEASED = "leased"
    EXPIRED = "expired"
    REPORTED = "reported"
    RELEASED = "released"


class Scope(StrEnum):
    AGENT = "agent"
    MANAGER = "manager"


metadata = sa.MetaData(naming_convention=NAMING)
lease_table(metadata)


def _id() -> sa.Column[int]:
    return sa.Column("id", Id, primary_key=True, autoincrement=True)


def _all(kind: Any, *names: str, default: str | None = None) -> list[sa.Column[Any]]:
    return [sa.Column(name, kind, nullable=False, server_default=default) for name in names]


hashed = sa.Column("sha256", Digest, primary_key=True)
sandbox = sa.Table("sandbox", metadata, hashed, *_all(sa.BigInteger, "size"), *_all(Time, "at"))
owner = sa.Column("sha256", Digest, sa.ForeignKey("sandbox.sha256"), primary_key=True)
part = sa.Column("part", sa.Integer, primary_key=True, autoincrement=False)
sandbox_part = sa.Table("sandbox_part", metadata, owner, part, *_all(sa.LargeBinary(2**24 - 1), "content"))
request = sa.Table(
    "request",
    metadata,
    _id(),
    *_all(Word, "name", "created_by"),
    *_all(sa.String(20), "kind", "state"),
    *_all(Time, "since", "created_at"),
    *_all(Line, "reason", default=""),
    *_all(sa.Integer, "priority", "spec_version"),
    *_all(sa.BigInteger, "first_event", "events", "events_per_job"),
    *_all(sa.BigInteger, "expanded", "fence", default="0"),
    *_all(LONG, "spec", "sites", "preferences", "settings"),
    *_all(Digest, "spec_checksum"),
    *_all(Digest, "sandbox_sha256", default=""),
    one_of("state", RequestState),
    sa.CheckConstraint("kind IN ('events', 'files')", name="kind"),
    sa.CheckConstraint("events > 0 AND expanded >= 0 AND expanded < events", name="events"),
    sa.Index(None, "state"),
)
allocation = sa.Table(
    "allocation",
    metadata,
    _id(),
    sa.Column("request_id", Id, sa.ForeignKey("request.id"), nullable=False),
    *_all(Word, "agent"),
    *_all(sa.BigInteger, "fence", "first_event", "events"),
    *_all(sa.BigInteger, "merged", "lost", default="0"),
    *_all(sa.String(20), "state"),
    *_all(sa.Text, "progress"),
    *_all(Time, "lease_until", "acquired_at"),
    sa.Column("closed_at", Time, nullable=True),
    one_of("state", AllocationState),
    sa.CheckConstraint("events > 0 AND merged + lost <= events", name="events"),
    sa.UniqueConstraint("request_id", "fence"),
    sa.Index(None, "request_id", "state", "lease_until"),
)
piece = sa.Table(
    "piece",
    metadata,
    sa.Column("request_id", Id, sa.ForeignKey("request.id"), primary_key=True),
    sa.Column("first_event", sa.BigInteger, primary_key=True, autoincrement=False),
    *_all(sa.BigInteger, "events"),
    *_all(sa.String(20), "state"),
    sa.Column("allocation_id", Id, sa.ForeignKey("allocation.id"), nullable=True),
    *_all(sa.Integer, "losses"),
    one_of("state", PieceState),
    sa.CheckConstraint("events > 0", name="events"),
    sa.CheckConstraint("(state = 'leased') = (allocation_id IS NOT NULL)", name="holder"),
    sa.Index(None, "request_id", "state", "first_event"),
    sa.Index(None, "allocation_id"),
)
report = sa.Table(
    "report",
    metadata,
    _id(),
    sa.Column("allocation_id", Id, sa.ForeignKey("allocation.id"), nullable=False),
    *_all(sa.Integer, "late"),
    *_all(LONG, "body", "inputs", "decision"),
    *_all(sa.String(20), "verdict"),
    *_all(Line, "reason"),
    *_all(Time, "at"),
    sa.CheckConstraint("late IN (0, 1)", name="late"),
    sa.Index(None, "allocation_id"),
)
call = sa.Table(
    "call",
    metadata,
    sa.Column("caller", Exact, primary_key=True),
    sa.Column("call_id", Exact, primary_key=True),
    *_all(Digest, "digest"),
    *_all(LONG, "answer"),
    *_all(Time, "at"),
    sa.Index(None, "at"),
)
token = sa.Table(
    "token",
    metadata,
    sa.Column("digest", Digest, primary_key=True),
    *_all(Word, "name"),
    *_all(sa.String(20), "scope"),
    *_all(Time, "created_at", "expires_at"),
    one_of("scope", Scope),
)
audit = sa.Table("audit", metadata, _id(), *_all(Time, "at"), *_all(Word, "who"), *_all(Line, "verb", "result"))

p = piece.c
PRODMGR = Schema("prodmgr", metadata, Path(__file__).parent / "migrations" / "prodmgr")


class RequestRow(msgspec.Struct, frozen=True, kw_only=True):
    """A request as stored; `sites`, `preferences` and `settings` are JSON."""

    id: int
    name: str
    kind: str
    state: RequestState
    since: float
    reason: str
    priority: int
    first_event: int
    events: int
    expanded: int
    events_per_job: int
    sites: str
    spec: str
    spec_version: int
    spec_checksum: str
    sandbox_sha256: str
    preferences: str
    settings: str
    fence: int
    created_by: str
    created_at: float


class AllocationRow(msgspec.Struct, frozen=True, kw_only=True):
    """An allocation as stored; `progress` is JSON."""

    id: int
    request_id: int
    agent: str
    fence: int
    first_event: int
    events: int
    state: AllocationState
    lease_until: float
    progress: str
    merged: int
    lost: int


class AccountsError(Exception):
    """The pieces of a request are not the request; what found it is undone."""


def _rows(connection: sa.Connection, kind: type[R], table: sa.Table, *where: Any, order: Any = None) -> list[R]:
    names = kind.__struct_fields__
    query = sa.select(*(table.c[name] for name in names)).where(*where)
    found = connection.execute(query if order is None else query.order_by(order))
    return [msgspec.convert(dict(zip(names, row, strict=True)), kind) for row in found]


def _insert(tx: Tx, table: sa.Table, values: dict[str, Any]) -> int:
    made = tx.connection.execute(table.insert().values(**values)).inserted_primary_key
    return int(made[0]) if made else 0


# ---------------------------------------------------------------- requests
def add_request(tx: Tx, **values: Any) -> RequestRow:
    """Insert a request, all of it free."""
    number = _insert(tx, request, {**values, "state": RequestState.NEW, "since": tx.now, "created_at": tx.now})
    row = find_request(tx.connection, number)
    assert row is not None
    add_free(tx, number, Range(row.first_event, row.events))
    return row


def add_free(tx: Tx, request_id: int, new: Range) -> None:
    """Add event numbers to a request, unassigned."""
    free = {"request_id": request_id, "state": PieceState.FREE, "losses": 0}
    tx.connection.execute(piece.insert().values(**free, first_event=new.first, events=new.events))


def requests(connection: sa.Connection, *states: RequestState) -> list[RequestRow]:
    """Return the requests, of these states or all, by id."""
    chosen = request.c.state.in_(states or tuple(RequestState))
    return _rows(connection, RequestRow, request, chosen, order=request.c.id)


def find_request(connection: sa.Connection, request_id: int) -> RequestRow | None:
    return next(iter(_rows(connection, RequestRow, request, request.c.id == request_id)), None)


def move_request(tx: Tx, request_id: int, verb: RequestVerb, reason: str) -> None:
    """Move a request by its table; raise IllegalMove if it is in another state."""
    rule = REQUEST_TABLE[verb]
    change = request.update().where(request.c.id == request_id, request.c.state.in_(rule.sources))
    values = {"state": rule.target, "since": tx.now, "reason": reason[:500]}
    if tx.connection.execute(change.values(**values)).rowcount != 1:
        raise IllegalMove(f"request {request_id}: {verb.value} is not allowed in its state")


def expand_request(tx: Tx, row: RequestRow, added: int) -> Range:
    """Add as many new event numbers after the last and return them."""
    new = Range(row.first_event + row.events, added)
    values = {"events": row.events + added, "expanded": row.expanded + added}
    tx.connection.execute(request.update().where(request.c.id == row.id).values(**values))
    add_free(tx, row.id, new)
    return new


def next_fence(tx: Tx, request_id: int) -> int:
    """Raise the fence of a request and return it."""
    tx.connection.execute(request.update().where(request.c.id == request_id).values(fence=request.c.fence + 1))
    return int(tx.connection.execute(sa.select(request.c.fence).where(request.c.id == request_id)).scalar_one())


# ---------------------------------------------------------------- pieces
def free_ranges(connection: sa.Connection, request_id: int, limit: int) -> list[Range]:
    """Return the first unassigned ranges of a request."""
    query = sa.select(p.first_event, p.events).where(p.request_id == request_id, p.state == PieceState.FREE)
    return [Range(*row) for row in connection.execute(query.order_by(p.first_event).limit(limit))]


def pieces(connection: sa.Connection, request_id: int, within: Range | None = None) -> Pieces:
    """Return the pieces of a request, or those that overlap or touch a range."""
    query = sa.select(piece).where(p.request_id == request_id).order_by(p.first_event)
    if within is not None:
        query = query.where(p.first_event <= within.end, p.first_event + p.events >= within.first)
    return [
        (Range(row.first_event, row.events), Holding(PieceState(row.state), row.allocation_id, row.losses))
        for row in connection.execute(query)
    ]


def repaint(tx: Tx, request_id: int, before: Pieces, after: Pieces) -> None:
    """Replace pieces that were read in this transaction by others that hold the same events."""
    kept = set(before) & set(after)
    for row, _ in (old for old in before if old not in kept):
        tx.connection.execute(piece.delete().where(p.request_id == request_id, p.first_event == row.first))
    for row, (state, allocation_id, losses) in (new for new in after if new not in kept):
        values = {"request_id": request_id, "state": state, "allocation_id": allocation_id, "losses": losses}
        tx.connection.execute(piece.insert().values(**values, first_event=row.first, events=row.events))


def ledger(connection: sa.Connection, *request_ids: int) -> dict[int, dict[PieceState, int]]:
    """Return the events of these requests (or all) by state of their pieces."""
    query = sa.select(p.request_id, p.state, sa.func.sum(p.events)).group_by(p.request_id, p.state)
    if request_ids:
        query = query.where(p.request_id.in_(request_ids))
    sums: dict[int, dict[PieceState, int]] = {}
    for request_id, state, events in connection.execute(query):
        sums.setdefault(request_id, dict.fromkeys(PieceState, 0))[PieceState(state)] = int(events)
    return sums


def check(tx: Tx, row: RequestRow, *ranges: Range) -> dict[PieceState, int]:
    """Return the ledger of a request; raise AccountsError if its sum is wrong or a gap or overlap lies near a range."""
    sums = ledger(tx.connection, row.id).get(row.id, {})
    if sum(sums.values()) != row.events:
        raise AccountsError(f"request {row.id}: the pieces hold {sum(sums.values())} events, the request {row.events}")
    for within in ranges:
        near = [found for found, _ in pieces(tx.connection, row.id, within)]
        if any(before.end != after.first for before, after in pairwise(near)):
            raise AccountsError(f"request {row.id}: gap or overlap near {within.first}")
    return sums


# ---------------------------------------------------------------- allocations
def add_allocation(tx: Tx, **values: Any) -> int:
    """Insert an allocation and return its id; its piece is painted by the caller in the same transaction."""
    return _insert(tx, allocation, {**values, "state": AllocationState.LEASED, "acquired_at": tx.now})


def find_allocation(connection: sa.Connection, allocation_id: int) -> AllocationRow | None:
    return next(iter(_rows(connection, AllocationRow, allocation, allocation.c.id == allocation_id)), None)


def allocations(connection: sa.Connection, request_id: int) -> list[AllocationRow]:
    return _rows(connection, AllocationRow, allocation, allocation.c.request_id == request_id, order=allocation.c.id)


def overdue(tx: Tx, request_id: int) -> list[AllocationRow]:
    """Return the allocations of a request whose lease has ended unreturned."""
    a = allocation.c
    where = (a.request_id == request_id, a.state == AllocationState.LEASED, a.lease_until <= tx.now)
    return _rows(tx.connection, AllocationRow, allocation, *where, order=a.id)


def update_allocation(tx: Tx, allocation_id: int, **values: Any) -> None:
    tx.connection.execute(allocation.update().where(allocation.c.id == allocation_id).values(**values))


def close_allocation(tx: Tx, row: AllocationRow, state: AllocationState, merged: int = 0, lost: int = 0) -> None:
    """End an allocation and book what came of it."""
    update_allocation(tx, row.id, state=state, closed_at=tx.now, merged=row.merged + merged, lost=row.lost + lost)


def add_report(tx: Tx, **values: Any) -> None:
    tx.connection.execute(report.insert().values(**values, at=tx.now))


def reports(connection: sa.Connection, request_id: int, limit: int) -> list[sa.RowMapping]:
    """Return the latest reports of a request, newest first: at, agent, allocation, verdict, reason, late, inputs."""
    r = report.c
    columns = (r.at, allocation.c.agent, allocation.c.id.label("allocation"), r.verdict, r.reason, r.late, r.inputs)
    query = sa.select(*columns).join_from(report, allocation).where(allocation.c.request_id == request_id)
    return list(connection.execute(query.order_by(r.id.desc()).limit(limit)).mappings())


# ---------------------------------------------------------------- sandboxes
def add_sandbox(tx: Tx, sha256: str, content: bytes) -> None:
    """Store an archive under its checksum; one that is there already stays."""
    if sandbox_size(tx.connection, sha256) is None:
        tx.connection.execute(sandbox.insert().values(sha256=sha256, size=len(content), at=tx.now))
        for part, start in enumerate(range(0, len(content), PART)):
            row = {"sha256": sha256, "part": part, "content": content[start : start + PART]}
            tx.connection.execute(sandbox_part.insert().values(**row))


def sandbox_size(connection: sa.Connection, sha256: str) -> int | None:
    """Return its size in bytes, None if it is not there."""
    size = connection.execute(sa.select(sandbox.c.size).where(sandbox.c.sha256 == sha256)).scalar_one_or_none()
    return None if size is None else int(size)


def sandbox_content(connection: sa.Connection, sha256: str) -> bytes:
    query = sa.select(sandbox_part.c.content).where(sandbox_part.c.sha256 == sha256).order_by(sandbox_part.c.part)
    return b"".join(connection.execute(query).scalars())


looked_at(RequestRow, AllocationRow)

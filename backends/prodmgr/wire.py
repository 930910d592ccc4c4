"""The bodies that travel between an agent and a ProdMgr, as JSON below /api/v1."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from domain.policy import PolicySettings, RequestState, Verdict
from domain.ranges import LARGEST, Range
from domain.spec import Name
from domain.types import looked_at

CallId = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.:\-]{8,100}$", description="letters, digits, _ . : -; 8 to 100")]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$", description="64 lower-case hexadecimal digits")]
Count = Annotated[int, Meta(ge=0, le=LARGEST)]
Ranges = Annotated[list[Range], Meta(max_length=10_000)]
"""Event ranges, each as [first, count]."""

MAX_JSON = 8 * 1024 * 1024
"""Largest JSON body in bytes."""
MAX_SANDBOX = 50_000_000
"""Largest sandbox archive in bytes."""


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a client sends."""


class Call(Body, frozen=True, kw_only=True):
    """A change: repeated with the same `call_id` and body it has the same answer and happens once."""

    call_id: CallId


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What a ProdMgr answers; fields that this version does not know are skipped."""


class Progress(Body, frozen=True, kw_only=True):
    """How far an allocation is, in events."""

    done: Count = 0
    running: Count = 0
    queued: Count = 0
    failed: Count = 0


class DeliveredFile(Body, frozen=True, kw_only=True):
    """A delivered file of a report; `size` in bytes."""

    lfn: Annotated[str, Meta(min_length=1, max_length=500)]
    events: Count
    size: Count
    adler32: str = ""
    sha256: str = ""
    site: str = ""


class AcquireCall(Call, frozen=True, kw_only=True):
    agent: Name
    max_events: Annotated[int, Meta(ge=1, le=LARGEST)]
    sites: Annotated[list[Name], Meta(max_length=1000)] = []
    request: int | None = None
    without: Annotated[list[int], Meta(max_length=1000)] = []


class RenewCall(Call, frozen=True, kw_only=True):
    fence: int
    progress: Progress = Progress()


class ReportCall(Call, frozen=True, kw_only=True):
    fence: int
    done: Ranges = []
    lost: Ranges = []
    files: Annotated[list[DeliveredFile], Meta(max_length=10_000)] = []


class ReleaseCall(Call, frozen=True, kw_only=True):
    fence: int
    ranges: Ranges | None = None


class MakeCall(Call, frozen=True, kw_only=True):
    """A new request. `spec` is the WorkflowSpec as JSON; `preferences` gives agents a priority of their own."""

    spec: msgspec.Raw
    kind: Literal["events", "files"] = "events"
    sandbox_sha256: Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?$")] = ""
    settings: PolicySettings = PolicySettings()
    preferences: dict[Name, Annotated[int, Meta(ge=0, le=9999)]] = {}


class ChangeCall(Call, frozen=True, kw_only=True):
    reason: Annotated[str, Meta(max_length=400)] = ""


class TokenCall(Call, frozen=True, kw_only=True):
    """A token made by the caller, who sends only its sha256."""

    agent: Name
    scope: Literal["agent", "manager"]
    sha256: Digest
    days: Annotated[float, Meta(gt=0, le=3650)] = 365.0


class Allocation(Answer, frozen=True, kw_only=True):
    """A leased range of a request; `lease_until` in UTC epoch seconds by the ProdMgr's clock."""

    id: int
    fence: int
    request: int
    first_event: int
    events: int
    lease_until: float
    priority: int
    spec_version: int
    spec_checksum: str


class Offer(Answer, frozen=True, kw_only=True):
    """What an agent gets. `exhausted`: nothing more is unassigned for it now."""

    allocations: list[Allocation]
    exhausted: bool


class Lease(Answer, frozen=True, kw_only=True):
    """A renewed lease; an agent whose request is no longer active stops starting new jobs."""

    lease_until: float
    request_state: RequestState


class Decision(Answer, frozen=True, kw_only=True):
    """What follows from a report.

    `ranges` are those that `verdict` is about; `counted` are the done events that count, `refused` those that do not,
    since they were given to somebody else after the lease ended; `late`: the lease had ended.
    """

    verdict: Verdict
    reason: str
    ranges: list[Range]
    counted: list[Range]
    refused: list[Range]
    late: bool
    request_state: RequestState


class Released(Answer, frozen=True, kw_only=True):
    """What was returned, and how many events the allocation still holds."""

    returned: list[Range]
    held: int


class Ledger(Answer, frozen=True, kw_only=True):
    """Where the events of a request are: requested = merged + leased + unassigned + lost.

    `expanded` is the part of `requested` that the policy added to replace lost events.
    """

    requested: int
    merged: int
    leased: int
    unassigned: int
    lost: int
    expanded: int = 0


class AgentShare(Answer, frozen=True, kw_only=True):
    """What one agent did for a request: allocations so far, events now leased, and events merged and lost."""

    agent: str
    allocations: int
    leased: int
    merged: int
    lost: int
    progress: Progress


class RulingNote(Answer, frozen=True, kw_only=True):
    """A ruling as it is on record."""

    at: float
    agent: str
    allocation: int
    verdict: Verdict
    reason: str


class RequestInfo(Answer, frozen=True, kw_only=True):
    """A request with its ledger; `since` and `created_at` in UTC epoch seconds."""

    id: int
    name: str
    kind: str
    state: RequestState
    since: float
    reason: str
    priority: int
    first_event: int
    ledger: Ledger
    created_at: float
    created_by: str
    spec_version: int
    spec_checksum: str
    sandbox_sha256: str


class RequestDetail(RequestInfo, frozen=True, kw_only=True):
    """A request with who works on it and the latest rulings, newest first."""

    settings: PolicySettings
    preferences: dict[str, int]
    agents: list[AgentShare]
    rulings: list[RulingNote]


class RequestList(Answer, frozen=True, kw_only=True):
    requests: list[RequestInfo]


class WorkflowAnswer(Answer, frozen=True, kw_only=True):
    """A workflow as it travels: `spec_checksum` is the sha256 of the bytes of `spec`."""

    spec: msgspec.Raw
    spec_version: int
    spec_checksum: Digest
    sandbox_sha256: str
    sandbox_size: int


class Done(Answer, frozen=True, kw_only=True):
    """A change without further result."""

    ok: bool = True


class Problem(Answer, frozen=True, kw_only=True):
    """Why a call was refused: a code for programs, a sentence for people; for bad input also which field, what it got
    and what was expected."""

    code: str
    text: str
    field: str = ""
    got: str = ""
    expected: str = ""


class ProblemAnswer(Answer, frozen=True, kw_only=True):
    error: Problem


looked_at(*(kind for kind in list(globals().values()) if isinstance(kind, type) and issubclass(kind, msgspec.Struct)))

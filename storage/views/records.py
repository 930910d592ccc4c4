"""The records that the views answer with; times are UTC epoch seconds."""

from typing import Any

import msgspec

Counts = dict[str, int]


class Unknown(LookupError):
    """There is nothing of this name."""


class View(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Totals(View, frozen=True, kw_only=True):
    """Sums for progress bars, in events: requested ≥ allocated = merged + in_progress + lost, generated ≥ merged."""

    requested: int = 0
    allocated: int = 0
    in_progress: int = 0
    generated: int = 0
    merged: int = 0
    delivered: int = 0
    lost: int = 0
    jobs: Counts = {}
    files: Counts = {}
    transfers: Counts = {}


class WorkflowView(Totals, frozen=True, kw_only=True):
    """A workflow with its ledger.

    `generated` events are in accounted outputs, `merged` in catalogued files; `delivered` counts the events of
    catalogued files that have a verified copy at every site they were asked for; `eta` extrapolates the mean rate.
    """

    id: int
    name: str
    state: str
    since: float
    reason: str
    manager: str
    request: str
    dataset: str
    priority: int
    deliver_to: list[str]
    eta: float | None


class SiteJobs(View, frozen=True, kw_only=True):
    """Jobs by state at one target; site and target are "" for those that are at none."""

    site: str
    target: str
    states: Counts


class TargetAttempts(View, frozen=True, kw_only=True):
    """Attempts at one target by outcome ("live": none yet), over all time."""

    site: str
    target: str
    outcomes: Counts


class JobRow(View, frozen=True, kw_only=True):
    """A job in a list."""

    id: int
    workflow: str
    type: str
    state: str
    since: float
    reason: str
    site: str | None
    target: str | None
    pinned: str | None
    first_event: int
    events: int
    wake_at: float | None
    attempts: int


class AttemptView(View, frozen=True, kw_only=True):
    """One submission of a job."""

    id: int
    job_id: int
    number: int
    token: str
    live: int | None
    site: str
    target: str
    batch_id: str
    node: str
    outcome: str | None
    exit_code: int | None
    blame: str | None
    cause: str | None
    log: str | None
    wall_s: float | None
    cpu_s: float | None
    max_rss_mb: float | None
    created_at: float
    submitted_at: float | None
    started_at: float | None
    ended_at: float | None
    closed_at: float | None


class FactView(View, frozen=True, kw_only=True):
    """A fact of the log that moved one item; `more` holds what it says besides."""

    id: int
    at: float
    type: str
    reason: str
    more: dict[str, Any]


class FileRow(View, frozen=True, kw_only=True):
    """A file in a list."""

    id: int
    lfn: str
    kind: str
    state: str
    since: float
    reason: str
    workflow: str
    job: int
    site: str
    size: int
    events: int


class ReplicaView(View, frozen=True, kw_only=True):
    site: str
    method: str
    verified_at: float


class TransferView(View, frozen=True, kw_only=True):
    """The transfer of one file to one destination."""

    id: int
    file: int
    lfn: str
    source: str
    destination: str
    state: str
    since: float
    reason: str
    attempt: int
    wake_at: float | None


class FileView(FileRow, frozen=True, kw_only=True):
    """A file: where it is, what it was merged into and from, on which ways it is."""

    dataset: str
    block: str | None
    adler32: str
    sha256: str
    merge_job: int | None
    merged_into: str | None
    parents: list[str]
    replicas: list[ReplicaView]
    transfers: list[TransferView]
    history: list[FactView]


class JobView(JobRow, frozen=True, kw_only=True):
    """A job with all that happened to it; `lists`: what was said of the sites where this one may run ("" = nothing)."""

    unit: str
    lists: str
    inputs: list[FileRow]
    attempts_made: list[AttemptView]
    files: list[FileRow]
    history: list[FactView]


class WorkflowDetail(View, frozen=True, kw_only=True):
    """A workflow with its sites, causes of failure, specification and history."""

    workflow: WorkflowView
    causes: "list[Cause]"
    history: list[FactView]
    spec: Any


class Cause(View, frozen=True, kw_only=True):
    """Failed attempts of one kind; `example` is a cause in full, of job `job`, with the end of its log.

    `pattern` is the message with "#" for what varies. `workflow` and `node` are named where it was asked for them.
    """

    exit_code: int
    meaning: str
    blame: str
    site: str
    count: int
    first_at: float
    last_at: float
    job: int
    example: str | None
    pattern: str = ""
    log: str | None = None
    workflow: str = ""
    node: str = ""


class AlertView(View, frozen=True, kw_only=True):
    id: int
    level: str
    code: str
    subject: str
    text: str
    first_at: float
    last_at: float
    times: int


class ParkedView(View, frozen=True, kw_only=True):
    """A fact that a subscriber could not handle; `next_at` None: a dead letter, it waits for a person."""

    id: int
    subscriber: str
    event_id: int
    type: str
    tries: int
    next_at: float | None
    error: str
    at: float


class LetterView(View, frozen=True, kw_only=True):
    """A message that no actor handled, `times` times; `body` is its JSON, "" when it cannot be sent again."""

    id: int
    actor: str
    type: str
    body: str
    text: str
    reason: str
    error: str
    traceback: str
    tries: int
    times: int
    first_at: float
    last_at: float


class DatasetView(View, frozen=True, kw_only=True):
    name: str
    status: str
    files: int
    bytes: int
    events: int
    blocks: int
    open_blocks: int


class AuditView(View, frozen=True, kw_only=True):
    """A command and what came of it."""

    id: int
    at: float
    who: str
    verb: str
    arguments: str
    result: str

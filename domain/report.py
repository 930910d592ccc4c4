"""What an attempt leaves behind: the framework job report, as the agent reads it (PA-318)."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

MAX_REPORT = 8 * 1024 * 1024
"""Bytes; the runtime truncates above it and says so."""


class _Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


Adler32 = Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Code = Annotated[int, Meta(ge=-(2**31), lt=2**31)]


class StepReport(_Record, frozen=True, kw_only=True):
    """One program: `exit_code` 0 to 255, or `signal`; `wall_s` and `cpu_s` in seconds, `max_rss_mb` in MB."""

    name: str
    exit_code: Code | None = None
    signal: int | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    max_rss_mb: float = 0.0


class OutputReport(_Record, frozen=True, kw_only=True):
    """A file that was staged out whole and verified.

    The payload may tell which runs, lumi sections (by run) and branches are in it, and what it skipped of its inputs.
    `site`: whose storage has it, if not that of the job's own site.
    """

    lfn: str
    pfn: str
    site: str = ""
    size: Count
    events: Count
    adler32: Adler32
    sha256: Sha256
    parents: list[str] = []
    runs: list[Count] = []
    lumis: dict[str, list[Count]] = {}
    branches: list[str] = []
    skipped_events: Count = 0
    skipped_files: list[str] = []


class KeptReport(_Record, frozen=True, kw_only=True):
    """A file that was staged out aside, to be looked at and never registered; `problem`: why it is not there.

    `site`: whose storage has it, if not that of the job's own site.
    """

    lfn: str
    pfn: str = ""
    site: str = ""
    size: Count = 0
    adler32: str = ""
    sha256: str = ""
    problem: str = ""


class InputReport(_Record, frozen=True, kw_only=True):
    """A file that was read; `ok` False: it was missing or not what the catalogue says, see `problem`."""

    lfn: str
    ok: bool
    events: Count = 0
    problem: str = ""


class ErrorReport(_Record, frozen=True, kw_only=True):
    """Why the attempt failed: `code` as in domain/exit_codes.py, `step` where, `text` what, `log` the last lines."""

    code: Code
    step: str
    text: str
    log: str = ""


class Timing(_Record, frozen=True, kw_only=True):
    """Seconds that the parts of an attempt took; a part that it did not reach is 0."""

    stage_in_s: float = 0.0
    steps_s: float = 0.0
    stage_out_s: float = 0.0


class ResourcesUsed(_Record, frozen=True, kw_only=True):
    """What the whole attempt used: seconds, and the most memory that its process group had at once, in MB (10**6)."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """How a running attempt is doing (PA-325): `events` done, None while nobody can say; `at` UTC epoch seconds of the node."""

    schema: Literal[1]
    at: float
    step: str
    events: Count | None = None
    wall_s: float = 0.0
    cpu_s: float = 0.0
    memory_mb: float = 0.0
    disk_mb: float = 0.0


class JobReport(_Record, frozen=True, kw_only=True):
    """The whole of it. Success = exit_code 0 and no errors. Times are UTC epoch seconds of the node."""

    schema: Literal[1]
    token: str
    job: int
    exit_code: Count
    started_at: float
    ended_at: float
    node: str = ""
    steps: list[StepReport] = []
    inputs: list[InputReport] = []
    outputs: list[OutputReport] = []
    errors: list[ErrorReport] = []
    timing: Timing = Timing()
    resources: ResourcesUsed = ResourcesUsed()
    log_archive: KeptReport | None = None
    kept: KeptReport | None = None
    truncated: bool = False


def decode_report(raw: bytes) -> JobReport:
    """Return the report; raise msgspec.DecodeError (malformed) or ValueError (too large)."""
    if len(raw) > MAX_REPORT:
        raise ValueError(f"report of {len(raw)} bytes, at most {MAX_REPORT} are read")
    return msgspec.json.decode(raw, type=JobReport)

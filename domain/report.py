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
    """A file that was staged out whole and verified."""

    lfn: str
    pfn: str
    size: Count
    events: Count
    adler32: Adler32
    sha256: Sha256


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
    truncated: bool = False


def decode_report(raw: bytes) -> JobReport:
    """Return the report; raise msgspec.DecodeError (malformed) or ValueError (too large)."""
    if len(raw) > MAX_REPORT:
        raise ValueError(f"report of {len(raw)} bytes, at most {MAX_REPORT} are read")
    return msgspec.json.decode(raw, type=JobReport)

"""The contract of a batch system."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Protocol

import msgspec


class BatchState(StrEnum):
    """What a batch system says of one attempt."""

    PENDING = "pending"
    RUNNING = "running"
    HELD = "held"
    ENDED = "ended"
    UNKNOWN = "unknown"


class Evidence(StrEnum):
    """What proves an end; absence from a listing is none (PA-312)."""

    SENTINEL = "sentinel"
    ACCOUNTING = "accounting"
    REPORT = "report"


class JobStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt as the batch system sees it.

    `exit_code` is that of the worker runtime (0 to 255), or the code of a job report (domain/exit_codes.py) if the batch
    system ended the attempt for using too much; `signal` is the number that killed it; both only when ended;
    times are UTC epoch seconds of the node; `reason` is the batch system's own word for why it waits or ended.
    """

    token: str
    state: BatchState
    batch_id: str = ""
    exit_code: int | None = None
    signal: int | None = None
    node: str = ""
    evidence: Evidence | None = None
    reason: str = ""
    started_at: float | None = None
    ended_at: float | None = None


class Poll(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since `cursor`. `complete`: every live attempt is listed, so that absence says something; the answer
    to an empty cursor always is."""

    statuses: list[JobStatus]
    cursor: str
    complete: bool


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one job of a submission: accepted, or refused with a reason that may pass (`transient`)."""

    token: str
    accepted: bool
    batch_id: str = ""
    reason: str = ""
    transient: bool = False


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch system can do. `survives_agent`: attempts go on while the agent is away."""

    max_submit: int = 500
    survives_agent: bool = True
    lists_all: bool = False


class JobDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt to submit: `spec` is the runtime's job specification (runtime/spec.py), JSON-ready; the `architecture` of the
    node is as `uname -m` says it, "" = any.

    `avoid_nodes` must not run it, where the batch system can be told so; others ignore them. More GPUs, or another
    architecture, than the configuration of the target says are never asked for.
    """

    token: str
    spec: dict[str, Any]
    cores: int = 1
    memory_mb: int = 2000
    wall_s: int = 86400
    avoid_nodes: tuple[str, ...] = ()
    gpus: int = 0
    architecture: str = ""

    @property
    def kind(self) -> str:
        """The type of the job (domain/job.py), "" where its specification does not say."""
        return str(self.spec.get("type", ""))


class BatchError(Exception):
    """A batch system did not do what was asked; `transient`: the same call may succeed later."""

    def __init__(self, text: str, *, transient: bool) -> None:
        super().__init__(text)
        self.transient = transient


class BatchSystem(Protocol):
    """One batch target. Submitter, tracker and report may call it at the same time; every call has a deadline."""

    @property
    def capabilities(self) -> Capabilities: ...

    async def open(self) -> None:
        """Make ready; safe to repeat. Raise BatchError if the target cannot be used."""

    async def close(self) -> None:
        """Let go of connections and tasks; attempts go on (if `survives_agent`). Safe to repeat."""

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        """Hand over at most `max_submit` jobs in one call and return a verdict for each, in order.

        The intent is on record before this is called. Any error or cancellation leaves the outcome unknown; the caller
        then asks `find` and never repeats a token.
        """

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        """Return what is known of attempts, by token. A token that is missing does not run and never will: it was never
        accepted. An implementation that cannot promise this raises
        BatchError(transient=True) instead. UNKNOWN: it was accepted, and there is no proof of life or end."""

    async def poll(self, cursor: str) -> Poll:
        """Return the changes since `cursor` ("" = everything live or ended and not yet cleaned), with one query.

        A cursor of an earlier life of this object counts as "".
        """

    async def cancel(self, tokens: Sequence[str]) -> None:
        """Ask for the end of attempts; repeatable, unknown or ended tokens are skipped. `poll` shows the end.

        One that has not begun is prevented from ever beginning, also if the batch system has forgotten it.
        """

    async def release(self, tokens: Sequence[str]) -> None:
        """Let attempts that are held wait for a slot again; repeatable, others are skipped. `poll` shows what came of it."""

    async def fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        """Return the raw reports (JSON) of ended attempts; a token without a report is missing in the answer."""

    async def clean(self, tokens: Sequence[str]) -> None:
        """Remove everything that attempts left at the target; repeatable, unknown and live tokens are skipped."""

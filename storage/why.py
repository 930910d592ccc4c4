"""Why something does not move: gather what is known of it and let the domain explain (OPS-09)."""

import time
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import msgspec
import sqlalchemy as sa

from config.settings import Settings
from domain.allocation import AllocationState
from domain.explain import (
    ARRIVED,
    FileSight,
    JobSight,
    TransferSight,
    Verdict,
    WorkflowSight,
    explain_file,
    explain_job,
    explain_transfer,
    explain_workflow,
    fact_parked,
)
from domain.file import FileKind, FileState
from domain.job import JobState, JobType
from domain.matching import Candidate, Place, wait_reason
from domain.transfer import TransferState
from domain.workflow import WorkflowState
from storage import jobs, log, schema, views, workflows
from storage.views import FileView, TransferView, Unknown
from storage.workflows import Workflow

workflow, allocation, job, attempt, file = schema.workflow, schema.allocation, schema.job, schema.attempt, schema.file
merge_input, transfer, alert, event, parked = schema.merge_input, schema.transfer, schema.alert, schema.event, schema.parked


class Explanation(Verdict, frozen=True, kw_only=True):
    """The answer: the subject, its state and since when, the blocker, and what the blockers below it hold."""

    subject: str
    state: str
    since: float
    groups: dict[str, int] = {}


def why(connection: sa.Connection, subject: str, settings: Settings, now: float | None = None) -> Explanation:
    """Explain `job:17` or `17`, `workflow:NAME` or NAME, `request:NAME`, `file:LFN`, `file:ID` or an LFN, `transfer:ID`,
    `site:NAME`; raise Unknown for what is not there."""
    kind, name = parse(subject)
    return _Asker(connection, settings, time.time() if now is None else now).ask(kind, name)


KINDS = ("job", "workflow", "request", "file", "transfer", "site")


def parse(subject: str) -> tuple[str, str]:
    """Return kind and name; raise Unknown for a kind that is none."""
    kind, mark, name = subject.strip().partition(":")
    if mark and not kind.startswith("/"):
        if kind not in KINDS or not name:
            raise Unknown(f"got {subject!r}, expected a job id, a workflow, an LFN, or {', '.join(f'{k}:…' for k in KINDS)}")
        return kind, name
    if subject.strip().isdigit():
        return "job", subject.strip()
    return ("file" if subject.startswith("/") else "workflow"), subject.strip()


def number(kind: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Unknown(f"got {kind} {text!r}, expected its number")
    return int(text)

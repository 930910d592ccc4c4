"""What is kept of an attempt that is over, and for how long (PA-414).

A volume holds many attempts. What they have in common, their workflow and what its target gives, stands in it once: so an
attempt costs little, and its specification is made again from the volume alone.
"""

from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from domain.escalation import Need
from domain.job import JobType
from domain.jobspec import Assignment, MergeInput, Surroundings, write
from domain.ranges import Range
from domain.spec import WorkflowSpec
from domain.types import looked_at


class Kind(StrEnum):
    """How long a volume is kept: as one of successes, or as one that holds a failure."""

    SUCCESS = "success"
    FAILURE = "failure"


class Term(NamedTuple):
    """Seconds that volumes are kept by kind, and the bytes that those in the agent's own directory may take together."""

    success_s: float
    failure_s: float
    most_bytes: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """What attempts of one type and workflow have in common at one target."""

    workflow: str
    spec: WorkflowSpec
    surroundings: Surroundings


NOTHING = msgspec.Raw(b"null")
"""Where there is no report."""


class Archived(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt: what it was given, the range of its job, the report as it was, what the agent says of the end.

    `model`: the key of what it has in common with others, "" where that is not known any more. `unread`: the report as text,
    where it was no report. `closed_at` in UTC epoch seconds.
    """

    job: int
    attempt: int
    token: str
    workflow: str
    type: JobType
    site: str
    target: str
    node: str = ""
    range: Range
    model: str = ""
    need: Need | None = None
    inputs: tuple[MergeInput, ...] = ()
    code: int = 0
    cause: str = ""
    log: str = ""
    closed_at: float
    report: msgspec.Raw = NOTHING
    unread: str = ""


Models = dict[str, Model]
UNREAD = 64 * 1024
"""Most characters that are kept of a report that is none."""


def specification(models: Models, one: Archived) -> dict[str, Any] | None:
    """Return what the worker runtime was given, or None where the target was not known any more."""
    model = models.get(one.model)
    if model is None:
        return None
    assignment = Assignment(one.job, one.type, one.range, one.token)
    return write(model.workflow, model.spec, assignment, model.surroundings, one.inputs, one.need)


def reported(raw: bytes | None, *, read: bool) -> tuple[msgspec.Raw, str]:
    """Return a raw report, on one line, as the fields `report` and `unread`; `read`: it has been decoded as a report."""
    if raw is None:
        return NOTHING, ""
    if read and b"\n" not in raw:
        return msgspec.Raw(raw), ""
    try:
        return msgspec.Raw(msgspec.json.format(raw, indent=-1)), ""
    except msgspec.DecodeError:
        return NOTHING, raw[:UNREAD].decode(errors="replace")


looked_at(Archived, Models)

"""What to do about a job that its batch system holds: one ordered table by its reason, first match wins (PA-315)."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import msgspec
from msgspec import Meta

from domain import expression
from domain.types import looked_at


class HeldAction(StrEnum):
    """`release` it in the batch system; end it there and submit it again with `more-memory` or `more-time`, or at another
    site (`elsewhere`); `fail`: give it up; `list`: leave it to a person."""

    RELEASE = "release"
    MORE_MEMORY = "more-memory"
    MORE_TIME = "more-time"
    ELSEWHERE = "elsewhere"
    FAIL = "fail"
    LIST = "list"


class HeldRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A reason and what follows from it."""

    said: Annotated[
        Annotated[str, Meta(min_length=1, max_length=500, description="a regular expression")],
        Meta(description="looked for in the batch system's reason"),
    ]
    action: Annotated[HeldAction, Meta(description="what follows")]

    def __post_init__(self) -> None:
        expression.check("said", self.said)


class BuiltIn(HeldRule, frozen=True, kw_only=True):
    """One of ours: its expression is tried by the tests, not at each start."""

    def __post_init__(self) -> None:
        pass


NEVER = (
    "DependencyNeverSatisfied|BadConstraints|RESV_DEL_HOLD|MaxMemPerLimit|not permitted to use this partition|"
    r"PartitionTimeLimit|(QOS|Assoc)M(ax|in)\w*(PerJob|PerNode|NotSatisfied)"
)
"""Reasons of Slurm with which a job never starts as it is, though nobody holds it. Not InvalidAccount nor InvalidQOS: a slurmctld
that comes back while slurmdbd is away says so of every job."""

H = HeldAction
BUILT_IN: tuple[HeldRule, ...] = (
    BuiltIn(said=NEVER, action=H.ELSEWHERE),
    BuiltIn(said="(?i)memory", action=H.MORE_MEMORY),
    BuiltIn(said="(?i)time limit|wall ?time|run ?time", action=H.MORE_TIME),
    BuiltIn(said="launch failed|REQUEUE_HOLD|SPECIAL_EXIT", action=H.RELEASE),
    BuiltIn(said="(?i)error from .*(starter|shadow|startd)|transfer|spool", action=H.RELEASE),
    BuiltIn(said="JobHeldAdmin|JobHeldUser|via condor_hold", action=H.LIST),
)
"""Reasons of Slurm (https://slurm.schedmd.com/job_reason_codes.html) and of HTCondor (HoldReason,
https://htcondor.readthedocs.io/en/latest/classad-attributes/job-classad-attributes.html)."""


def judge(said: str, own: Sequence[HeldRule], releases: int, most: int) -> HeldAction:
    """Return what follows from a reason; what was released `most` times already goes to another site instead."""
    rule = next((rule for rule in (*own, *BUILT_IN) if expression.compiled(rule.said)(said)), None)
    action = rule.action if rule is not None else HeldAction.LIST
    return HeldAction.ELSEWHERE if action is HeldAction.RELEASE and releases >= most else action


looked_at(list[HeldRule])

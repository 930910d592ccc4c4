"""What a failed attempt means, whom it blames, and what follows: one ordered table, first match wins (PA-405, PA-406).

Rules of the configuration stand before the built-in ones. The numbers of the codes are in domain/exit_codes.py.
"""

from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from domain import exit_codes as x
from domain import expression
from domain.held import NEVER
from domain.job import JobType
from domain.types import looked_at

TEXT_END = 4000
"""Characters at the end of an attempt's log that the expressions of rules see."""


class Blame(StrEnum):
    """Whose fault it was."""

    PAYLOAD = "payload"
    SITE = "site"
    NODE = "node"
    NETWORK = "network"
    STORAGE = "storage"
    CREDENTIAL = "credential"
    INFRASTRUCTURE = "infrastructure"
    AGENT = "agent"
    NOBODY = "nobody"


class Action(StrEnum):
    """What follows: `retry` after the back-off of the blame; `wait`: only time mends it, so the next attempt comes late;
    `elsewhere`: another target that has not refused it, or a person decides; `more-memory` and `more-time`: again with more
    of it; `pause`: a person decides; `fail`: never again; `accept`: the output is good all the same."""

    RETRY = "retry"
    WAIT = "wait"
    ELSEWHERE = "elsewhere"
    MORE_MEMORY = "more-memory"
    MORE_TIME = "more-time"
    PAUSE = "pause"
    FAIL = "fail"
    ACCEPT = "accept"


def ranges(codes: str) -> list[tuple[int, int]]:
    """Return "50115-50117, 137" as pairs of the first and the last code."""
    pairs = [part.strip().partition("-") for part in codes.split(",")] if codes else []
    return [(int(low), int(high or low)) for low, _, high in pairs]


Expression = Annotated[str, Meta(max_length=500, description="a regular expression of at most 500 characters")]
Title = Annotated[str, Meta(pattern=r"^\S.{0,58}\S$", description="2 to 60 characters")]
Codes = Annotated[
    str,
    Meta(pattern=r"^$|^\d{1,9}(-\d{1,9})?( ?, ?\d{1,9}(-\d{1,9})?)*$", description='codes such as "1, 70-79"'),
]


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A kind of failure: an attempt is of it if all that is given here holds.

    `codes` such as "1, 70-79" are exit codes, `signals` what killed the payload; `said` is looked for in the batch system's
    own word for the end, `text` in the message and the end of the log; `types` are types of jobs. A rule that names
    nothing of these would match everything and is refused.
    """

    name: Annotated[Title, Meta(description="what it is called: the class of the failure")]
    codes: Annotated[Codes, Meta(description="exit codes, such as 1, 70-79")] = ""
    signals: Annotated[tuple[Annotated[int, Meta(ge=1, le=64)], ...], Meta(description="what killed the payload")] = ()
    said: Annotated[Expression, Meta(description="looked for in the batch system's word for the end")] = ""
    text: Annotated[Expression, Meta(description="looked for in the message and the end of the log")] = ""
    types: Annotated[tuple[JobType, ...], Meta(description="types of jobs; none: all")] = ()
    blame: Annotated[Blame, Meta(description="whose fault it is; decides which allowance is used")] = Blame.PAYLOAD
    action: Annotated[Action, Meta(description="what follows")] = Action.RETRY

    def __post_init__(self) -> None:
        if not (self.codes or self.signals or self.said or self.text):
            raise ValueError("codes, signals, said or text expected: a rule that names none matches everything")
        for name in ("said", "text"):
            if given := getattr(self, name):
                expression.check(name, given)
        for low, high in ranges(self.codes):
            if low > high:
                raise ValueError(f"codes: {low}-{high} runs backwards")
        if self.action is Action.ACCEPT and (self.said or self.text or not self.accepted):
            raise ValueError(
                "accept needs exit codes 1 to 255 or signals, and no expression: the node decides by the code alone"
            )

    @property
    def accepted(self) -> list[int]:
        """The codes of a payload after which its output counts; empty unless the action is `accept`."""
        if self.action is not Action.ACCEPT:
            return []
        given = [code for low, high in ranges(self.codes) if high <= 255 for code in range(max(1, low), high + 1)]
        return sorted({*given, *(x.SIGNALLED + signal for signal in self.signals)})


class BuiltIn(Rule, frozen=True, kw_only=True):
    """One of ours: its expressions are tried by the tests, not at each start."""

    def __post_init__(self) -> None:
        pass


class Evidence(NamedTuple):
    """What is known of a failed attempt: exit code, message, end of its log, the batch system's own word, type of job."""

    code: int
    text: str = ""
    log: str = ""
    said: str = ""
    type: JobType = JobType.PROCESSING


def _rule(codes: int | str, name: str, blame: Blame, action: Action = Action.RETRY) -> Rule:
    return BuiltIn(name=name, codes=str(codes), blame=blame, action=action)


TOO_MUCH = (
    "over the limit of the target|the job asks for|Requested node configuration|Requested time limit|count per node|"
    "processors requested|[Mm]emory (specification|required)|Failed to commit job submission|" + NEVER
)
"""Refusals, and reasons of held jobs, that are about what the job asks for: those of this product, of Slurm (slurm_strerror,
src/common/slurm_errno.c), and what a pool's SUBMIT_REQUIREMENTs reject
(https://htcondor.readthedocs.io/en/latest/admin-manual/ap-policy-configuration.html)."""

B, A = Blame, Action
BUILT_IN: tuple[Rule, ...] = (
    _rule(x.SPEC_INVALID, "job specification unreadable", B.AGENT),
    _rule(x.SANDBOX_MISSING, "sandbox missing or damaged", B.AGENT),
    _rule(x.NEVER_SUBMITTED, "the batch system never had it", B.AGENT),
    BuiltIn(name="more than the target gives", codes=f"{x.SUBMIT_REFUSED}, {x.HELD}", text=TOO_MUCH,
            blame=B.NOBODY, action=A.ELSEWHERE),
    _rule(x.SUBMIT_REFUSED, "refused by the batch system", B.SITE),
    _rule(f"{x.EXECUTABLE_NOT_FOUND}-{x.NOT_EXECUTABLE}", "program not found or not executable", B.SITE),
    _rule(x.STAGE_OUT, "stage-out failed", B.SITE),
    _rule(x.CHECKSUM_FAILED, "output could not be read back", B.SITE),
    _rule(x.NODE_DISK_FULL, "disk of the node is full", B.NODE),
    _rule(x.INPUT_UNREADABLE, "input missing or damaged", B.SITE),
    _rule(f"{x.REPORT_UNREADABLE}-{x.REPORT_NEVER_UPDATED}", "report unreadable", B.INFRASTRUCTURE),
    BuiltIn(name="the node failed", codes=f"{x.REPORT_MISSING}, {x.RUNTIME_KILLED}",
            said="NODE_FAIL|BOOT_FAIL|LAUNCH_FAILED", blame=B.NODE),
    BuiltIn(name="preempted", codes=f"{x.REPORT_MISSING}, {x.RUNTIME_KILLED}",
            said="PREEMPTED|REVOKED", blame=B.NOBODY),
    _rule(x.REPORT_MISSING, "report missing", B.INFRASTRUCTURE),
    _rule(x.RUNTIME_KILLED, "the job was killed from outside", B.INFRASTRUCTURE),
    _rule(x.RUNTIME_FAILED, "the worker runtime itself failed", B.INFRASTRUCTURE),
    _rule(x.STORAGE_FULL, "no room at the storage element", B.STORAGE, A.WAIT),
    _rule(x.ABSENT, "absent from the batch system", B.INFRASTRUCTURE),
    _rule(x.PENDING_TOO_LONG, "waited too long in the batch system", B.NOBODY),
    _rule(x.RUNNING_TOO_LONG, "ran beyond every limit", B.INFRASTRUCTURE),
    _rule(x.HELD, "held by the batch system", B.SITE),
    _rule(x.HELD_FOR_GOOD, "held by the batch system for good", B.PAYLOAD, A.FAIL),
    _rule(x.MEMORY, "memory limit", B.PAYLOAD, A.MORE_MEMORY),
    _rule(x.WALL_TIME, "wall time limit", B.PAYLOAD, A.MORE_TIME),
    _rule(x.DISK, "disk limit", B.PAYLOAD),
    _rule(f"{x.OUTPUT_MISSING}-{x.COUNT_MISSING}", "payload left no output or no event count", B.PAYLOAD),
    _rule(x.HOOK_UNUSABLE, "a hook is missing or not executable", B.PAYLOAD, A.FAIL),
    _rule(x.CONTROL_POINT, "a control point of the steps ended the job", B.PAYLOAD),
    _rule(x.EVENTS_DIFFER, "the output does not hold the events it should", B.PAYLOAD),
    _rule(x.CANCELLED, "cancelled on command", B.AGENT, A.FAIL),
    BuiltIn(name="payload killed (SIGKILL)", signals=(9,), blame=B.INFRASTRUCTURE),
    BuiltIn(name="payload terminated (SIGTERM)", signals=(15,), blame=B.INFRASTRUCTURE),
    _rule("1-255", "payload failed", B.PAYLOAD),
)  # fmt: skip
UNKNOWN = _rule(0, "unknown exit code", B.PAYLOAD)
"""What no rule matches; it counts as the payload's, and operators are told of it."""


class RuleBook:
    """The rules in force: those of the configuration, then the built-in ones."""

    def __init__(self, own: Sequence[Rule] = (), version: int = 0) -> None:
        self.version = version
        self.own = tuple(own)
        self.rules = (*self.own, *BUILT_IN)
        self._by_name = {rule.name: rule for rule in reversed((*self.rules, UNKNOWN))}

    def classify(self, evidence: Evidence) -> Rule:
        """Return the first rule that matches, or UNKNOWN."""
        return next((rule for rule in self.rules if self._matches(rule, evidence)), UNKNOWN)

    def named(self, name: str | None, code: int | None) -> Rule:
        """Return the rule that an attempt was put under; one that is no more, or never was noted, is found by the code."""
        return self._by_name.get(name or "") or self.classify(Evidence(code or 0))

    def accepted(self, kind: JobType) -> list[int]:
        """Return the exit codes of a payload after which its output counts all the same."""
        candidates = sorted({code for rule in self.own for code in rule.accepted})
        return [code for code in candidates if self.classify(Evidence(code, type=kind)).action is Action.ACCEPT]

    def _matches(self, rule: Rule, seen: Evidence) -> bool:
        if rule.codes or rule.signals:
            coded = any(low <= seen.code <= high for low, high in _ranges(rule.codes))
            if not coded and seen.code - x.SIGNALLED not in rule.signals:
                return False
        if rule.types and seen.type not in rule.types:
            return False
        if rule.said and not expression.compiled(rule.said)(seen.said):
            return False
        return not rule.text or bool(expression.compiled(rule.text)(f"{seen.text}\n{seen.log[-TEXT_END:]}"))


_ranges = cache(ranges)
BOOK = RuleBook()
"""The built-in rules alone."""


def classify(code: int) -> Rule:
    """Return what the built-in rules say of an exit code alone."""
    return BOOK.classify(Evidence(code))


looked_at(list[Rule])

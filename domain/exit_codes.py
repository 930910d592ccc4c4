"""What exit codes mean, and whom they blame: one table, first match wins (PA-405).

The numbers are those that CMS documented for its framework job reports; 90001 and above are this product's own.
"""

from enum import StrEnum
from typing import NamedTuple


class Blame(StrEnum):
    """Whose fault it was; each has its own allowance of attempts (PA-403)."""

    PAYLOAD = "payload"
    SITE = "site"
    INFRASTRUCTURE = "infrastructure"
    AGENT = "agent"


class Rule(NamedTuple):
    """Codes `low` to `high` inclusive; `waits`: only time mends it, so the next attempt comes late."""

    low: int
    high: int
    name: str
    blame: Blame
    retry: bool
    waits: bool = False


OK = 0
EXECUTABLE_NOT_FOUND = 50110
NOT_EXECUTABLE = 50111
REPORT_UNREADABLE = 50115
REPORT_NEVER_UPDATED = 50117
MEMORY = 50660
WALL_TIME = 50664
REPORT_MISSING = 50700
CHECKSUM_FAILED = 50998
STAGE_OUT = 60311
SANDBOX_MISSING = 60996
SPEC_INVALID = 60998
NODE_DISK_FULL = 60999
INPUT_UNREADABLE = 90001
OUTPUT_MISSING = 90002
COUNT_MISSING = 90003
RUNTIME_KILLED = 90004
EVENTS_DIFFER = 90005
NEVER_SUBMITTED = 90006
SUBMIT_REFUSED = 90007
ABSENT = 90008
CANCELLED = 90009
RUNTIME_FAILED = 90010
HOOK_UNUSABLE = 90011
CONTROL_POINT = 90012
STORAGE_FULL = 90013

RULES: tuple[Rule, ...] = (
    Rule(SPEC_INVALID, SPEC_INVALID, "job specification unreadable", Blame.AGENT, retry=True),
    Rule(SANDBOX_MISSING, SANDBOX_MISSING, "sandbox missing or damaged", Blame.AGENT, retry=True),
    Rule(NEVER_SUBMITTED, NEVER_SUBMITTED, "the batch system never had it", Blame.AGENT, retry=True),
    Rule(SUBMIT_REFUSED, SUBMIT_REFUSED, "refused by the batch system", Blame.SITE, retry=True),
    Rule(EXECUTABLE_NOT_FOUND, NOT_EXECUTABLE, "program not found or not executable", Blame.SITE, retry=True),
    Rule(STAGE_OUT, STAGE_OUT, "stage-out failed", Blame.SITE, retry=True),
    Rule(CHECKSUM_FAILED, CHECKSUM_FAILED, "output could not be read back", Blame.SITE, retry=True),
    Rule(NODE_DISK_FULL, NODE_DISK_FULL, "disk of the node is full", Blame.SITE, retry=True),
    Rule(INPUT_UNREADABLE, INPUT_UNREADABLE, "input missing or damaged", Blame.SITE, retry=True),
    Rule(REPORT_UNREADABLE, REPORT_NEVER_UPDATED, "report unreadable", Blame.INFRASTRUCTURE, retry=True),
    Rule(REPORT_MISSING, REPORT_MISSING, "report missing", Blame.INFRASTRUCTURE, retry=True),
    Rule(RUNTIME_KILLED, RUNTIME_KILLED, "the job was killed from outside", Blame.INFRASTRUCTURE, retry=True),
    Rule(RUNTIME_FAILED, RUNTIME_FAILED, "the worker runtime itself failed", Blame.INFRASTRUCTURE, retry=True),
    Rule(STORAGE_FULL, STORAGE_FULL, "no room at the storage element", Blame.INFRASTRUCTURE, retry=True, waits=True),
    Rule(ABSENT, ABSENT, "absent from the batch system", Blame.INFRASTRUCTURE, retry=True),
    Rule(MEMORY, MEMORY, "memory limit", Blame.PAYLOAD, retry=True),
    Rule(WALL_TIME, WALL_TIME, "wall time limit", Blame.PAYLOAD, retry=True),
    Rule(OUTPUT_MISSING, COUNT_MISSING, "payload left no output or no event count", Blame.PAYLOAD, retry=True),
    Rule(HOOK_UNUSABLE, HOOK_UNUSABLE, "a hook is missing or not executable", Blame.PAYLOAD, retry=False),
    Rule(CONTROL_POINT, CONTROL_POINT, "a control point of the steps ended the job", Blame.PAYLOAD, retry=True),
    Rule(EVENTS_DIFFER, EVENTS_DIFFER, "the output does not hold the events it should", Blame.PAYLOAD, retry=True),
    Rule(CANCELLED, CANCELLED, "cancelled on command", Blame.AGENT, retry=False),
    Rule(128 + 9, 128 + 9, "payload killed (SIGKILL)", Blame.INFRASTRUCTURE, retry=True),
    Rule(128 + 15, 128 + 15, "payload terminated (SIGTERM)", Blame.INFRASTRUCTURE, retry=True),
    Rule(1, 255, "payload failed", Blame.PAYLOAD, retry=True),
)
UNKNOWN = Rule(0, 0, "unknown exit code", Blame.PAYLOAD, retry=True)


def classify(code: int) -> Rule:
    """Return the first rule that covers `code`, or UNKNOWN."""
    return next((rule for rule in RULES if rule.low <= code <= rule.high), UNKNOWN)

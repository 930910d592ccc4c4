"""What operators say of who may run where: holds, modes of a site, trust in spite of its record (PA-203, PA-211, PA-213)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import NamedTuple

from domain.job import JobType


class Scope(StrEnum):
    """What is spoken of; the agent as a whole has the subject "agent"."""

    AGENT = "agent"
    SITE = "site"
    TARGET = "target"
    REQUEST = "request"
    WORKFLOW = "workflow"
    JOB = "job"


class Kind(StrEnum):
    """What is said: a hold, the mode of a site, or that its record and its breaker are not to count for a while."""

    HOLD = "hold"
    MODE = "mode"
    TRUST = "trust"


class Mode(StrEnum):
    """How a site is used (PA-211); what runs there goes on in all of them.

    `drain`: nothing new, or nothing new of one type. `down`: nothing new, and what waits there comes back to the queue.
    `test`: only workflows that name the site get there.
    """

    ENABLED = "enabled"
    DRAIN = "drain"
    DRAIN_PROCESSING = "drain-processing"
    DRAIN_MERGE = "drain-merge"
    DOWN = "down"
    TEST = "test"


AGENT = "agent"
KINDS: dict[Kind, tuple[Scope, ...]] = {
    Kind.HOLD: tuple(Scope),
    Kind.MODE: (Scope.SITE,),
    Kind.TRUST: (Scope.SITE,),
}
"""What may be said of what."""

DRAINED: dict[Mode, tuple[JobType, ...]] = {
    Mode.ENABLED: (),
    Mode.DRAIN: tuple(JobType),
    Mode.DRAIN_PROCESSING: (JobType.PROCESSING,),
    Mode.DRAIN_MERGE: (JobType.MERGE,),
    Mode.DOWN: tuple(JobType),
    Mode.TEST: (),
}
"""Types of jobs of which a site gets none in each mode."""


class Control(NamedTuple):
    """One thing that was said; `value`: the mode, or the state that a held job is given back; times in UTC epoch seconds,
    `until` None = until it is lifted."""

    scope: Scope
    subject: str
    kind: Kind
    value: str
    reason: str
    author: str
    since: float
    until: float | None

    @property
    def words(self) -> str:
        """Who said it and why."""
        return f"{self.author}: {self.reason}" if self.reason else f"by {self.author}"


def in_force(controls: Iterable[Control], now: float) -> list[Control]:
    """Return those whose time is not over."""
    return [control for control in controls if control.until is None or control.until > now]


def about(controls: Iterable[Control], kind: Kind, scope: Scope, subject: str) -> Control | None:
    """Return what is said of one thing, None if nothing is."""
    return next((one for one in controls if (one.kind, one.scope, one.subject) == (kind, scope, subject)), None)


def mode_of(controls: Iterable[Control], site: str) -> tuple[Mode, str]:
    """Return the mode of a site, and whose word that is."""
    said = about(controls, Kind.MODE, Scope.SITE, site)
    return (Mode(said.value), said.words) if said else (Mode.ENABLED, "")

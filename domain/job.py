"""The life of a job as one table."""

from enum import StrEnum

from domain import events as e
from domain.transition import Move, StateTable


class JobType(StrEnum):
    PROCESSING = "processing"
    MERGE = "merge"


class JobState(StrEnum):
    """Where a job stands (PA-019)."""

    NEW = "new"
    QUEUED = "queued"
    RELEASED = "released"
    SUBMITTING = "submitting"
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"
    ACCOUNTED = "accounted"
    SUCCESS = "success"
    COOLOFF = "cooloff"
    PAUSED = "paused"
    LOST = "lost"
    FAILED = "failed"
    EXHAUSTED = "exhausted"
    KILLED = "killed"
    CLEANED = "cleaned"


J = JobState
AT_TARGET = (J.SUBMITTING, J.PENDING, J.RUNNING)
"""States with an attempt that the batch system may hold."""

WAITING = (J.NEW, J.QUEUED, J.COOLOFF, J.PAUSED)
UNFINISHED = (*WAITING, J.RELEASED, *AT_TARGET, J.ENDED, J.LOST, J.FAILED)
"""States in which the job's events are still to be produced."""
OVER = (J.SUCCESS, J.CLEANED, J.KILLED)
"""States of a job that never runs again."""

JOB_TABLE: StateTable[JobState] = StateTable(
    "job",
    JobState,
    final=frozenset({J.CLEANED, J.KILLED}),
    moves={
        e.JobsCreated: Move((), J.NEW),
        e.JobsQueued: Move((J.NEW,), J.QUEUED),
        e.JobsReleased: Move((J.QUEUED,), J.RELEASED),
        e.JobsReturned: Move((J.RELEASED,), J.QUEUED),
        e.JobsWithdrawn: Move((J.PENDING,), J.QUEUED),
        e.JobsSubmitting: Move((J.RELEASED,), J.SUBMITTING),
        e.JobsSubmitted: Move((J.SUBMITTING, J.LOST), J.PENDING),
        e.JobsStarted: Move((J.SUBMITTING, J.PENDING, J.LOST), J.RUNNING),
        e.JobsEnded: Move((*AT_TARGET, J.LOST), J.ENDED),
        e.JobsLost: Move(AT_TARGET, J.LOST),
        e.JobsAccounted: Move((J.ENDED,), J.ACCOUNTED),
        e.JobsFailed: Move((*AT_TARGET, J.ENDED, J.LOST), J.FAILED),
        e.JobsCooledOff: Move((J.FAILED, J.PAUSED), J.COOLOFF),
        e.JobsRequeued: Move((J.FAILED, J.COOLOFF, J.PAUSED, J.ACCOUNTED, J.EXHAUSTED), J.QUEUED),
        e.JobsPaused: Move((J.NEW, J.QUEUED, J.COOLOFF, J.FAILED), J.PAUSED),
        e.JobsReadmitted: Move((J.PAUSED,), J.NEW),
        e.JobsExhausted: Move((J.FAILED, J.ACCOUNTED), J.EXHAUSTED),
        e.JobsKilled: Move(UNFINISHED, J.KILLED),
        e.JobsRevoked: Move((*UNFINISHED, J.ACCOUNTED), J.KILLED),
        e.JobsSucceeded: Move((J.ACCOUNTED,), J.SUCCESS),
        e.JobsCleaned: Move((J.SUCCESS,), J.CLEANED),
    },
)

ORIGINAL_NAMES: dict[JobState, str] = {
    J.NEW: "register",
    J.QUEUED: "register",
    J.RELEASED: "released",
    J.SUBMITTING: "create",
    J.PENDING: "inProgress",
    J.RUNNING: "inProgress",
    J.ENDED: "inProgress",
    J.ACCOUNTED: "finished",
    J.SUCCESS: "reallyFinished",
    J.COOLOFF: "inProgress",
    J.PAUSED: "inProgress",
    J.LOST: "inProgress",
    J.FAILED: "inProgress",
    J.EXHAUSTED: "failed",
    J.KILLED: "failed",
    J.CLEANED: "reallyFinished",
}
"""What the 2005-2012 system called the same (PA-019)."""

TYPE_RANK: dict[JobType, int] = {JobType.MERGE: 15, JobType.PROCESSING: 10}
"""Queue priority by type; it outweighs the workflow's own priority (PA-201)."""


def rank(kind: JobType, workflow_priority: int) -> int:
    """Return the queue key: type first, then workflow priority (0 to 9999); higher runs earlier."""
    return TYPE_RANK.get(kind, 1) * 10_000 + workflow_priority

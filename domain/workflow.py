"""The life of a workflow as one table."""

from enum import StrEnum

from domain import events as e
from domain.transition import Move, StateTable


class WorkflowState(StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    ABORTED = "aborted"


W = WorkflowState
WORKFLOW_TABLE: StateTable[WorkflowState] = StateTable(
    "workflow",
    WorkflowState,
    final=frozenset({W.ABORTED}),
    moves={
        e.WorkflowsAdded: Move((), W.ACTIVE),
        e.WorkflowsPaused: Move((W.ACTIVE,), W.PAUSED),
        e.WorkflowsResumed: Move((W.PAUSED, W.COMPLETED), W.ACTIVE),
        e.WorkflowsCompleted: Move((W.ACTIVE,), W.COMPLETED),
        e.WorkflowsAborted: Move((W.ACTIVE, W.PAUSED), W.ABORTED),
    },
)

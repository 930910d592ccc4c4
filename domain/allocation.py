"""The life of an allocation as one table."""

from enum import StrEnum

from domain import events as e
from domain.transition import Move, StateTable


class AllocationState(StrEnum):
    ACTIVE = "active"
    CUT = "cut"
    DONE = "done"
    REPORTED = "reported"
    REVOKED = "revoked"


A = AllocationState
ALLOCATION_TABLE: StateTable[AllocationState] = StateTable(
    "allocation",
    AllocationState,
    final=frozenset({A.REPORTED, A.REVOKED}),
    moves={
        e.AllocationsAcquired: Move((), A.ACTIVE),
        e.AllocationsCut: Move((A.ACTIVE,), A.CUT),
        e.AllocationsDone: Move((A.CUT,), A.DONE),
        e.AllocationsReported: Move((A.DONE,), A.REPORTED),
        e.AllocationsRevoked: Move((A.ACTIVE, A.CUT, A.DONE), A.REVOKED),
    },
)

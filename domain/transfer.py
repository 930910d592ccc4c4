"""The life of a transfer task as one table; each state has one owner, and only the owner moves it (TX-04, TX-05)."""

from enum import StrEnum

from domain import events as e
from domain.transition import Move, StateTable


class TransferState(StrEnum):
    WANTED = "wanted"
    PLANNED = "planned"
    OFFERED = "offered"
    STAGING = "staging"
    READY = "ready"
    MOVING = "moving"
    LANDED = "landed"
    VERIFIED = "verified"
    MIGRATING = "migrating"
    SAFE = "safe"
    RELEASABLE = "releasable"
    RELEASED = "released"
    WAITING = "waiting"
    PARKED = "parked"
    QUARANTINED = "quarantined"
    CANCELLED = "cancelled"


T = TransferState
OWNER: dict[TransferState, str] = {
    T.WANTED: "planner",
    T.PLANNED: "planner",
    T.OFFERED: "source",
    T.STAGING: "source",
    T.READY: "destination",
    T.MOVING: "destination",
    T.LANDED: "verifier",
    T.VERIFIED: "tape",
    T.MIGRATING: "tape",
    T.SAFE: "cleaner",
    T.RELEASABLE: "cleaner",
    T.RELEASED: "nobody",
    T.WAITING: "planner",
    T.PARKED: "operator",
    T.QUARANTINED: "operator",
    T.CANCELLED: "nobody",
}

_BEFORE_LANDING = (T.WANTED, T.PLANNED, T.OFFERED, T.STAGING, T.READY, T.MOVING)
_ARRIVED = (T.VERIFIED, T.MIGRATING, T.SAFE)
TRANSFER_TABLE: StateTable[TransferState] = StateTable(
    "transfer",
    TransferState,
    final=frozenset({T.RELEASED, T.CANCELLED}),
    moves={
        e.TransfersWanted: Move((), T.WANTED),
        e.TransfersPlanned: Move((T.WANTED, T.WAITING, T.PARKED), T.PLANNED),
        e.TransfersOffered: Move((T.PLANNED,), T.OFFERED),
        e.TransfersStaging: Move((T.OFFERED,), T.STAGING),
        e.TransfersReady: Move((T.OFFERED, T.STAGING), T.READY),
        e.TransfersMoving: Move((T.READY, T.MOVING), T.MOVING),
        e.TransfersLanded: Move((T.MOVING,), T.LANDED),
        e.TransfersVerified: Move((T.LANDED,), T.VERIFIED),
        e.TransfersMigrating: Move((T.VERIFIED,), T.MIGRATING),
        e.TransfersSafe: Move((T.VERIFIED, T.MIGRATING), T.SAFE),
        e.TransfersReleasable: Move((T.SAFE,), T.RELEASABLE),
        e.TransfersReleased: Move((T.RELEASABLE,), T.RELEASED),
        e.TransfersWaiting: Move((*_BEFORE_LANDING, T.LANDED, T.WAITING, T.PARKED, T.QUARANTINED), T.WAITING),
        e.TransfersParked: Move((*_BEFORE_LANDING, T.LANDED, T.WAITING), T.PARKED),
        e.TransfersQuarantined: Move((T.READY, T.MOVING, T.LANDED, *_ARRIVED), T.QUARANTINED),
        e.TransfersCancelled: Move((*_BEFORE_LANDING, T.LANDED, T.WAITING, T.PARKED, T.QUARANTINED), T.CANCELLED),
    },
)

"""What can be said of an actor in a word: its state, how it failed, that it is gone."""

from enum import StrEnum

import msgspec


class State(StrEnum):
    """What an actor or a group is doing."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"  # groups; of actors it shows as idle, busy or paused
    IDLE = "idle"
    BUSY = "busy"
    BACKING_OFF = "backing-off"
    PAUSED = "paused"
    PARKED = "parked"
    STOPPED = "stopped"


class Down(msgspec.Struct, frozen=True):
    """An actor that you monitor is gone for good."""

    name: str
    reason: str


class Failure(msgspec.Struct, frozen=True):
    """How an actor failed last; the traceback is formatted when somebody looks."""

    error: BaseException
    when: float  # UTC epoch seconds
    stack: str = ""  # of an overdue handler

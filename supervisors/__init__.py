"""The actor core: actors on asyncio with pykka's vocabulary, supervised as in OTP."""

from supervisors.actor import AsyncioActor
from supervisors.clock import Clock, SystemClock
from supervisors.dead_letters import DeadLetter, DeadLetters, Reason
from supervisors.drain import DRAIN, STOP_ACTORS, STOP_TIMERS, Phase
from supervisors.faults import (
    Answer,
    AskCycle,
    Escalated,
    HandlerCancelled,
    HandlerOverdue,
    MailboxFull,
    StartOverdue,
    Transient,
)
from supervisors.loop_watch import LoopWatchOptions
from supervisors.mailbox import MailboxOptions, Overflow, Priority
from supervisors.ref import ActorRef
from supervisors.reply import Reply
from supervisors.snapshot import ActorSnapshot, SystemSnapshot
from supervisors.specs import Backoff, ChildSpec, Restart, Strategy, SupervisorSpec
from supervisors.state import Down, State
from supervisors.system import ActorSystem, Alert
from supervisors.ticks import Tick
from supervisors.tracing import Trace, TraceRecord

__all__ = [
    "DRAIN",
    "STOP_ACTORS",
    "STOP_TIMERS",
    "ActorRef",
    "ActorSnapshot",
    "ActorSystem",
    "Alert",
    "Answer",
    "AskCycle",
    "AsyncioActor",
    "Backoff",
    "ChildSpec",
    "Clock",
    "DeadLetter",
    "DeadLetters",
    "Down",
    "Escalated",
    "HandlerCancelled",
    "HandlerOverdue",
    "LoopWatchOptions",
    "MailboxFull",
    "MailboxOptions",
    "Overflow",
    "Phase",
    "Priority",
    "Reason",
    "Reply",
    "Restart",
    "StartOverdue",
    "State",
    "Strategy",
    "SupervisorSpec",
    "SystemClock",
    "SystemSnapshot",
    "Tick",
    "Trace",
    "TraceRecord",
    "Transient",
]

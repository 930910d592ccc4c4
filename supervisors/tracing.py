"""Records the messages that actors handle, for a while, at no cost when nobody looks."""

import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from supervisors.clock import Clock

_TEXT = 200  # characters of a message that are kept


class TraceRecord(msgspec.Struct, frozen=True):
    """One handled message."""

    when: float  # UTC epoch seconds, when the handler began
    actor: str
    type: str
    message: str
    correlation: str | None
    seconds: float
    outcome: str  # "ok", or the error


class Trace:
    """What is recorded: one actor, one message type (by name), one correlation id, or any mix of them.

    The correlation id is the attribute `correlation` of the message.
    """

    def __init__(
        self,
        actor: str | None,
        message_type: str | None,
        correlation: str | None,
        on_stop: Callable[["Trace"], None],
        size: int = 1000,
    ) -> None:
        self.actor = actor
        self.message_type = message_type
        self.correlation = correlation
        self.records: deque[TraceRecord] = deque(maxlen=size)
        self.on_record: Callable[[TraceRecord], None] | None = None
        self.on_end: Callable[[], None] | None = None
        self.active = True
        self._on_stop = on_stop

    def stop(self) -> None:
        """Record no more; the records stay."""
        if self.active:
            self.active = False
            self._on_stop(self)
            if self.on_end is not None:
                self.on_end()

    def wants(self, message: Any) -> bool:
        """Say whether this message is to be recorded."""
        return (self.message_type is None or type(message).__name__ == self.message_type) and (
            self.correlation is None or getattr(message, "correlation", None) == self.correlation
        )

    def add(self, record: TraceRecord) -> None:
        """Keep a record, tell who follows."""
        self.records.append(record)
        if self.on_record is not None:
            self.on_record(record)


def traced(receive: Callable[[Any], Any], name: str, clock: Clock, traces: Iterable[Trace]) -> Callable[[Any], Any]:
    """Wrap an actor's on_receive so that it records; returns it as it is when no trace is for that actor."""
    wanted = tuple(trace for trace in traces if trace.actor in (None, name))
    if not wanted:
        return receive

    async def record(message: Any) -> Any:
        began, monotonic, outcome = clock.time(), clock.monotonic(), "ok"
        try:
            result = receive(message)
            return await result if inspect.iscoroutine(result) else result
        except BaseException as error:
            outcome = f"{type(error).__name__}: {error}"
            raise
        finally:
            followers = [trace for trace in wanted if trace.active and trace.wants(message)]
            if followers:
                correlation = getattr(message, "correlation", None)
                text, seconds = repr(message)[:_TEXT], clock.monotonic() - monotonic
                entry = TraceRecord(began, name, type(message).__name__, text, correlation, seconds, outcome)
                for trace in followers:
                    trace.add(entry)

    return record


def log_all(trace: Trace, logger: logging.Logger) -> None:
    """Log what a trace records and let that logger speak at level DEBUG until the trace ends."""
    before = logger.level
    logger.setLevel(logging.DEBUG)
    trace.on_end = lambda: logger.setLevel(before)
    trace.on_record = lambda record: logger.debug(
        "handled %s in %.6f s: %s; %s", record.type, record.seconds, record.outcome, record.message
    )

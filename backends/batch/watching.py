"""The contract of a batch system that can show its running attempts; one that cannot lacks the method."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol, runtime_checkable

import msgspec

from domain.report import Heartbeat


class Glimpse(msgspec.Struct, frozen=True):
    """How a running attempt is doing: its last heartbeat, None before the first, the end of its log, and how many bytes all
    of that has."""

    heartbeat: Heartbeat | None
    log: bytes = b""
    log_bytes: int = 0


@runtime_checkable
class Watching(Protocol):
    """A batch system whose nodes write where the agent can read while a job runs."""

    async def watch(self, tokens: Sequence[str], tail: int = 0) -> dict[str, Glimpse]:
        """Return heartbeat, and the last `tail` bytes of the log, of attempts that run; others are missing.

        One call whatever the number of tokens. Raise BatchError.
        """


def seen(beat: str | None, log: str, log_bytes: int) -> Glimpse:
    """Return what runtime/glimpse.py saw; a heartbeat of another version is none."""
    heart = None
    if beat is not None:
        with suppress(msgspec.MsgspecError):
            heart = msgspec.json.decode(beat, type=Heartbeat)
    return Glimpse(heart, log.encode(), log_bytes)

"""The contract of a batch system that can show its running attempts; one that cannot lacks the method."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import msgspec

from domain.report import Heartbeat


class Glimpse(msgspec.Struct, frozen=True):
    """How a running attempt is doing: its last heartbeat, None before the first, and the end of its log."""

    heartbeat: Heartbeat | None
    log: bytes = b""


@runtime_checkable
class Watching(Protocol):
    """A batch system whose nodes write where the agent can read while a job runs."""

    async def watch(self, tokens: Sequence[str], tail: int = 0) -> dict[str, Glimpse]:
        """Return heartbeat, and the last `tail` bytes of the log, of attempts that run; others are missing.

        One call whatever the number of tokens. Raise BatchError.
        """


def heartbeat(raw: bytes | str | None) -> Heartbeat | None:
    """Return what a heartbeat says; None for one that is not there, or of another version."""
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Heartbeat)
    except msgspec.MsgspecError:
        return None

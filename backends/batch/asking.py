"""The contract of a batch system that counts what it asks of its site; one that asks nothing lacks the method."""

from typing import Protocol, runtime_checkable

import msgspec


class Traffic(msgspec.Struct, frozen=True):
    """Calls to a site for one target: round trips to its login node, since the start and within the last hour."""

    calls: int
    calls_last_hour: int


@runtime_checkable
class Asking(Protocol):
    """A batch system that is asked over a channel."""

    def traffic(self) -> Traffic: ...


def together(*parts: object) -> Traffic:
    """Return the traffic of those parts that have any."""
    counted = [part.traffic() for part in parts if isinstance(part, Asking)]
    return Traffic(sum(one.calls for one in counted), sum(one.calls_last_hour for one in counted))

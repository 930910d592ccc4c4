"""How much may still be sent to a place: what was free at the last look, less what was promised since (PA-317, TX-14)."""

from typing import NamedTuple

FULL, AWAY = "storage-full", "storage-away"
"""Why nothing is sent to a place; also the codes of the alerts that say so, and of the answer to `why`."""

SCRATCH = "the agent's disk"
"""The place through which goes what is fetched from one storage and sent to another; no site has such a name."""


class Room(NamedTuple):
    """`free`: bytes at the last look, None if the place does not tell; `promised`: bytes of what was under way then, of which
    nobody knows how much was already written, or has been begun since."""

    free: int | None = None
    promised: int = 0

    def holds(self, size: int) -> bool:
        """Whether so many more bytes fit beside all that is promised."""
        return self.free is None or self.promised + size <= self.free

    def promise(self, size: int) -> "Room":
        """Return what is left to promise after so many bytes."""
        return self._replace(promised=self.promised + size)


class Shut(NamedTuple):
    """Why nothing is sent to a place for now."""

    code: str
    text: str


def full(place: str, room: Room, size: int) -> Shut:
    """Say that a file of `size` bytes has to wait for room."""
    text = f"{place} has {amount(room.free or 0)} free, {amount(room.promised)} are promised to files under way: "
    return Shut(FULL, f"{text}the next one, of {amount(size)}, waits for room")


def amount(size: int) -> str:
    """Return bytes in words."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def pause_s(refusals: int, base_s: float, cap_s: float) -> float:
    """Return how long a place is left alone that has refused for want of room so many times in a row, in seconds."""
    return min(cap_s, base_s * 2.0 ** max(0, min(refusals, 64) - 1))

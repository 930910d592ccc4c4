"""What the agent does not begin now, and why."""

from enum import StrEnum


class Work(StrEnum):
    """What can be held back; what has begun goes on."""

    INTAKE = "intake"
    SUBMISSION = "submission"


class Brakes:
    """Who holds back which work for what reason. Whoever begins such work asks first; a sweep later it asks again.

    A brake holds everywhere, or at one target. Kept in memory: whoever holds one finds its reason again when it starts.
    """

    def __init__(self) -> None:
        self._held: dict[tuple[str, Work, str], str] = {}

    def hold(self, who: str, reason: str, *works: Work, target: str = "") -> None:
        """Hold back these works; the same holder again changes the reason."""
        for work in works:
            self._held[who, work, target] = reason

    def free(self, who: str, target: str | None = None) -> None:
        """Let go of what this holder holds, at one target or all. Safe to repeat."""
        self._held = {
            key: reason
            for key, reason in self._held.items()
            if key[0] != who or (target is not None and key[2] != target)
        }

    def held(self, work: Work, target: str = "") -> str:
        """Return why the work is held back everywhere or at this target; "" = begin."""
        return "; ".join(
            reason for (_, held, place), reason in self._held.items() if held is work and place in ("", target)
        )

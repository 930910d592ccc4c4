"""Counts restarts: how long to wait before the next, when there were too many."""

from supervisors.specs import Backoff, Strategy


class Budget:
    """The restarts allowed in a sliding window."""

    __slots__ = ("_spent", "intensity", "period")

    def __init__(self, intensity: int, period: float) -> None:
        self.intensity = intensity
        self.period = period
        self._spent: tuple[float, ...] = ()

    def spend(self, now: float) -> bool:
        """Take one restart; False when that is one too many."""
        self._forget(now)
        self._spent += (now,)
        return len(self._spent) <= self.intensity

    def left(self, now: float) -> int:
        """Return how many restarts remain in the window that ends now."""
        self._forget(now)
        return max(0, self.intensity - len(self._spent))

    def clear(self) -> None:
        """Forget all restarts."""
        self._spent = ()

    def _forget(self, now: float) -> None:
        self._spent = tuple(moment for moment in self._spent if moment > now - self.period)


class Pauses:
    """The growing pauses of one child, started over after a quiet time."""

    __slots__ = ("backoff", "failures")

    def __init__(self, backoff: Backoff) -> None:
        self.backoff = backoff
        self.failures = 0

    def after_failure(self, healthy_for: float, random: float) -> float:
        """Count a failure of a child that was up for `healthy_for` seconds; return the pause before its restart."""
        if healthy_for >= self.backoff.reset_after:
            self.failures = 0
        self.failures += 1
        return self.backoff.delay(self.failures, random)

    def clear(self) -> None:
        """Start over."""
        self.failures = 0


def affected(strategy: Strategy, names: list[str], failed: str) -> list[str]:
    """Return who is restarted when `failed` fails, in start order."""
    if strategy is Strategy.ONE_FOR_ONE:
        return [failed]
    if strategy is Strategy.ONE_FOR_ALL:
        return list(names)
    return names[names.index(failed) :]

"""Times the handlers of one life: the loop only notes, the rest is computed when somebody asks."""

from array import array

_KEPT = 128  # times that stay for the percentiles
_MOST = 256  # from here on the older ones are forgotten


class Stopwatch:
    """How long the recent handlers took, when the present one began, how many there were."""

    __slots__ = ("handled", "since", "took")

    def __init__(self) -> None:
        self.took = array("d")  # seconds; an array, as it holds no objects
        self.since = 0.0  # on the clock of the actor
        self.handled = 0

    def note(self, done: int, now: float) -> None:
        """Note that so many messages were handled since `since`, and begin anew."""
        if done:
            self.handled += done
            self.took.append((now - self.since) / done)
            if len(self.took) > _MOST:
                del self.took[:-_KEPT]
        self.since = now

    def percentiles(self, *shares: float) -> tuple[float, ...]:
        """Return how long the recent handlers took at most, for these shares of them."""
        took = sorted(self.took[-_KEPT:])
        return tuple(took[int(len(took) * share)] if took else 0.0 for share in shares)

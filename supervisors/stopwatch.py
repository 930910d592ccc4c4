"""Times the handlers of one life: the loop only notes, the rest is computed when somebody asks."""

from array import array

_KEPT = 128  # times that stay for the percentiles
MOST = 256  # from here on the loop lets it shorten


class Stopwatch:
    """How long the recent handlers took, when the present one began, how many there were."""

    __slots__ = ("_forgotten", "since", "took")

    def __init__(self) -> None:
        self.took = array("d")  # seconds; an array, as it holds no objects
        self.since = 0.0  # on the clock of the actor
        self._forgotten = 0

    def shorten(self) -> None:
        """Forget the older times."""
        self._forgotten += len(self.took) - _KEPT
        del self.took[:-_KEPT]

    @property
    def handled(self) -> int:
        """How many messages were handled."""
        return self._forgotten + len(self.took)

    def percentiles(self, *shares: float) -> tuple[float, ...]:
        """Return how long the recent handlers took at most, for these shares of them."""
        took = sorted(self.took[-_KEPT:])
        return tuple(took[int(len(took) * share)] if took else 0.0 for share in shares)

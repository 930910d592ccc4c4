"""What is measured in a history: its course for the plot, its sums for the table."""

import msgspec

from domain.policy import PieceState
from services.simulation.database import SimulatedDatabase
from services.simulation.outside import Outside
from services.simulation.scenario import Scenario
from storage import attempts, views


class Moment(msgspec.Struct, frozen=True):
    """The world at one time (seconds from the beginning): events that the ProdMgr counts as done, jobs on slots and without."""

    at: float
    events: int
    running: dict[str, int]
    queued: int = 0


class TargetSum(msgspec.Struct, frozen=True, kw_only=True):
    """One target over the whole time: `utilisation` is the share of its slot seconds that jobs took."""

    target: str
    site: str
    slots: int
    utilisation: float
    attempts: int
    failed: int


class Measures(msgspec.Struct, kw_only=True):
    """`finished_at`: when the last request closed, in seconds from the beginning; None if one has not."""

    slots: dict[str, int]
    course: list[Moment] = []
    finished_at: float | None = None
    requested: int = 0
    merged: int = 0
    lost: int = 0
    attempts: int = 0
    failed: int = 0
    causes: dict[str, int] = {}
    targets: list[TargetSum] = []

    @classmethod
    def of(cls, scenario: Scenario) -> "Measures":
        """Return empty measures of a scenario."""
        slots = {name: target.slots for name, (_, target) in scenario.targets.items()}
        return cls(slots=slots, requested=sum(order.events for order in scenario.requests))

    def note(self, at: float, outside: Outside) -> None:
        """Note how it goes."""
        running = {name: batch.running for name, batch in outside.batches.items()}
        queued = sum(batch.waiting for batch in outside.batches.values())
        self.course.append(Moment(at, _merged(outside), running, queued))
        if self.finished_at is None and outside.all_closed:
            self.finished_at = at

    def close(self, at: float, outside: Outside, database: SimulatedDatabase) -> None:
        """Add up."""
        self.note(at, outside)
        self.merged = _merged(outside)
        self.lost = sum(request.sum(PieceState.LOST) for request in outside.books.requests.values())
        counts = database.ask(attempts.outcomes)
        for cause in database.ask(views.causes):
            self.causes[cause.meaning] = self.causes.get(cause.meaning, 0) + cause.count
        for name, (site, target) in outside.scenario.targets.items():
            ended = counts.get(name, {})
            used = outside.batches[name].used_s / (target.slots * (self.finished_at or at) or 1.0)
            self.targets.append(
                TargetSum(
                    target=name,
                    site=site,
                    slots=target.slots,
                    utilisation=min(1.0, used),
                    attempts=sum(ended.values()),
                    failed=sum(ended.get(word, 0) for word in ("failed", "lost")),
                )
            )
        self.attempts = sum(each.attempts for each in self.targets)
        self.failed = sum(each.failed for each in self.targets)


def _merged(outside: Outside) -> int:
    return sum(request.sum(PieceState.MERGED) for request in outside.books.requests.values())

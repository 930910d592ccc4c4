"""What came of everything that was asked for: delivered, lost, waiting for a person, or unfinished."""

import msgspec

from domain.policy import PieceState
from services.simulation.database import SimulatedDatabase
from services.simulation.outside import Outside
from storage import settled, views

MOST_NAMED = 5
"""So many items of one kind are named, the others are counted."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Events by what came of them; their sum is `requested`.

    `delivered`: catalogued, with a verified copy everywhere they were asked for. `lost`: given up for good, by request.
    `unfinished`: neither, those of `waiting` among them: what only a person can move, with the reason.
    """

    requested: int
    delivered: int
    lost: dict[str, int] = {}
    unfinished: int = 0
    waiting: list[str] = []

    @property
    def ended(self) -> bool:
        """Whether nothing is left that could still be delivered."""
        return not self.unfinished and not self.waiting

    @property
    def words(self) -> str:
        """Say it in one line."""
        parts = [f"{self.delivered:,} of {self.requested:,} events delivered"]
        if self.lost:
            named = [f"{count:,} of {name}" for name, count in self.lost.items()]
            parts.append(f"{sum(self.lost.values()):,} lost ({_listed(named)})")
        if self.unfinished:
            parts.append(f"{self.unfinished:,} unfinished")
        if self.waiting:
            parts.append(f"waiting for a person: {_listed(self.waiting)}")
        return "; ".join(parts)


def judge(outside: Outside, database: SimulatedDatabase, now: float) -> Verdict:
    """Return the verdict at the end of a history; `now` as UTC epoch seconds."""
    requests = outside.books.requests.values()
    requested = sum(order.events for order in outside.scenario.requests)
    lost = {request.spec.name: count for request in requests if (count := request.sum(PieceState.LOST))}
    delivered = database.ask(lambda c: views.totals(c, now)).delivered
    stuck = database.ask(settled.for_people)
    return Verdict(
        requested=requested,
        delivered=delivered,
        lost=lost,
        unfinished=max(0, requested - delivered - sum(lost.values())),
        waiting=[f"{each.subject} of {each.workflow}, {each.events:,} events ({each.reason})" for each in stuck],
    )


def _listed(items: list[str]) -> str:
    more = len(items) - MOST_NAMED
    return ", ".join(items[:MOST_NAMED]) + (f" and {more:,} more" if more > 0 else "")

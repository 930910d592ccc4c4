"""Which running attempts make no progress (PA-325): nothing done between two heartbeats that lie far apart."""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from domain.report import Heartbeat

Mark = tuple[str, float]


class Stalled(NamedTuple):
    """An attempt without progress `since` (monotonic seconds), at a step."""

    token: str
    since: float
    step: str


class Stalls:
    """The last progress of each running attempt. Times are monotonic seconds.

    Progress is another step, or more events done; where nobody can say how many, more CPU time. A job that shows no
    heartbeat at all makes none.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[Mark, float]] = {}
        self._turn = ""

    def due(self, running: Collection[str], most: int) -> list[str]:
        """Return the attempts to be looked at now, each in its turn, and forget those that run no more."""
        self._seen = {token: known for token, known in self._seen.items() if token in running}
        in_turn = sorted(running, key=lambda token: (token <= self._turn, token))[:most]
        self._turn = in_turn[-1] if in_turn else ""
        return in_turn

    def see(self, token: str, beat: Heartbeat | None, now: float) -> None:
        """Take in a look at a running attempt."""
        done = (beat.cpu_s if beat.events is None else float(beat.events)) if beat is not None else -1.0
        mark = (beat.step if beat is not None else "", done)
        if token not in self._seen or self._seen[token][0] != mark:
            self._seen[token] = (mark, now)

    def forget(self, tokens: Iterable[str]) -> None:
        """These were not to be seen: nothing is known of their progress."""
        for token in tokens:
            self._seen.pop(token, None)

    def stalled(self, before: float) -> list[Stalled]:
        """Return those without progress since before then, the longest first."""
        found = [Stalled(token, since, mark[0]) for token, (mark, since) in self._seen.items() if since <= before]
        return sorted(found, key=lambda one: one.since)

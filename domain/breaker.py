"""Circuit breaker of a site or a target: stops giving jobs to what fails them, tries again with two (PA-214).

Closed, it counts what the last attempts say of the place; half of them blamed on it, or several submissions in a row
without an answer, open it for a time that doubles. Then two probe jobs go; good ones close it, a bad one opens it anew. What is the
agent's own fault never comes here.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from domain.rules import Blame


class Mark(StrEnum):
    """What an attempt says of the place where it ran."""

    GOOD = "+"
    BAD = "-"
    PAYLOAD = "."


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Rules(NamedTuple):
    """`bad` of the last `window` attempts, or `errors` submissions in a row open it for `open_s` seconds, doubling to
    `cap_s`; `probes` good jobs close it."""

    window: int = 20
    share: float = 0.5
    errors: int = 5
    open_s: float = 600.0
    cap_s: float = 7200.0
    probes: int = 2

    @property
    def bad(self) -> int:
        """How many bad attempts among the last ones open it."""
        return max(1, round(self.window * self.share))


class Breaker(NamedTuple):
    """What is remembered of one place. `recent`: marks of the last attempts, oldest first; `errors`: submissions in a row
    without an answer; `opens`: how often it opened since it was last closed; `until` None = closed, else open until then
    and half-open after (UTC epoch seconds); `good`: probes that went well; `evidence`: why it opened."""

    recent: str = ""
    errors: int = 0
    opens: int = 0
    opened_at: float | None = None
    until: float | None = None
    good: int = 0
    by_errors: bool = False
    evidence: str = ""


class Judged(NamedTuple):
    """A closed attempt: its mark, and when it was made (UTC epoch seconds)."""

    mark: Mark
    created_at: float


AT_PLACE = (Blame.SITE, Blame.NODE, Blame.NETWORK, Blame.STORAGE, Blame.INFRASTRUCTURE)
MARKS: dict[Blame | None, Mark] = {
    None: Mark.GOOD,
    Blame.PAYLOAD: Mark.PAYLOAD,
    **dict.fromkeys(AT_PLACE, Mark.BAD),
}
"""What an attempt says by whom it blames (None: it ended well). Our own faults, credentials and nobody's stand in no row:
they say nothing of the place."""


def state_of(breaker: Breaker, now: float) -> BreakerState:
    """Return how it stands at a time."""
    if breaker.until is None:
        return BreakerState.CLOSED
    return BreakerState.OPEN if now < breaker.until else BreakerState.HALF_OPEN


def judged(breaker: Breaker, attempts: Sequence[Judged], rules: Rules, now: float) -> Breaker:
    """Return what becomes of it when attempts end: of those made before the probes, only a closed breaker learns."""
    if breaker.until is None and not any(attempt.mark is Mark.BAD for attempt in attempts):
        recent = breaker.recent + "".join(attempt.mark for attempt in attempts[-rules.window :])
        return breaker._replace(recent=recent[-rules.window :])
    for attempt in attempts:
        state = state_of(breaker, now)
        if state is BreakerState.CLOSED:
            recent = (breaker.recent + attempt.mark)[-rules.window :]
            breaker = breaker._replace(recent=recent)
            bad = recent.count(Mark.BAD)
            if bad >= rules.bad:
                text = f"{bad} of the last {len(recent)} attempts failed by the fault of the place"
                breaker = _open(breaker, rules, now, text, by_errors=False)
        elif state is BreakerState.HALF_OPEN and breaker.until is not None and attempt.created_at >= breaker.until:
            if attempt.mark is Mark.BAD:
                breaker = _open(breaker, rules, now, "a probe failed by the fault of the place", by_errors=False)
            else:
                breaker = _probed(breaker, 1, rules)
    return breaker


def telling(breaker: Breaker, attempts: Sequence[Judged], rules: Rules, now: float) -> list[Judged]:
    """Return the attempts that belong into the record of the place: not the bad ones that end while it is open already.

    One outage is noticed once, however many jobs it takes along; else it would cut a site off for days (PA-213).
    """
    if not any(attempt.mark is Mark.BAD for attempt in attempts):
        return list(attempts)
    counted = []
    for attempt in attempts:
        if attempt.mark is not Mark.BAD or state_of(breaker, now) is BreakerState.CLOSED:
            counted.append(attempt)
        breaker = judged(breaker, [attempt], rules, now)
    return counted


def unanswered(breaker: Breaker, rules: Rules, now: float, error: str) -> Breaker:
    """Return what becomes of it when a submission has no answer."""
    breaker = breaker._replace(errors=breaker.errors + 1)
    state = state_of(breaker, now)
    if state is BreakerState.HALF_OPEN or (state is BreakerState.CLOSED and breaker.errors >= rules.errors):
        text = f"{breaker.errors} submissions in a row without an answer: {error}"
        return _open(breaker, rules, now, text, by_errors=True)
    return breaker


def answered(breaker: Breaker, jobs: int, rules: Rules, now: float) -> Breaker:
    """Return what becomes of it when a submission of so many jobs was answered."""
    breaker = breaker._replace(errors=0)
    if breaker.by_errors and state_of(breaker, now) is BreakerState.HALF_OPEN:
        return _probed(breaker, jobs, rules)
    return breaker


def alive(breaker: Breaker, now: float) -> Breaker:
    """Return what becomes of it when the place answers a question again: if it was open for want of answers, probes may go."""
    if breaker.by_errors and state_of(breaker, now) is BreakerState.OPEN:
        return breaker._replace(until=now)
    return breaker


def allowance(breaker: Breaker, rules: Rules, now: float, under_way: int) -> int | None:
    """Return how many jobs may go there now, None = as many as fit; `under_way`: probes that have not ended."""
    match state_of(breaker, now):
        case BreakerState.CLOSED:
            return None
        case BreakerState.OPEN:
            return 0
        case BreakerState.HALF_OPEN:
            return max(0, rules.probes - breaker.good - under_way)


def _open(breaker: Breaker, rules: Rules, now: float, evidence: str, *, by_errors: bool) -> Breaker:
    opens = breaker.opens + 1
    lasts = min(rules.cap_s, rules.open_s * 2.0 ** min(opens - 1, 30))
    return breaker._replace(
        opens=opens,
        opened_at=breaker.opened_at if breaker.opened_at is not None else now,
        until=now + lasts,
        good=0,
        by_errors=by_errors,
        evidence=evidence,
    )


def _probed(breaker: Breaker, jobs: int, rules: Rules) -> Breaker:
    """So many probes went well: enough of them close it, with a clean record."""
    good = breaker.good + jobs
    return Breaker() if good >= rules.probes else breaker._replace(good=good)

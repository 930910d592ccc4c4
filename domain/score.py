"""How good a place is for the next job, as one number that can be looked up afterwards (PA-215)."""

from typing import NamedTuple

HOUR_S = 3600.0


class Standing(NamedTuple):
    """What is known of a target: attempts that ended well and by its own fault, over days and of late (hours); mean wait in
    its batch system in seconds, None while none is measured; `cost`: what an hour of a core is worth there, 1 = usual."""

    good: int = 0
    bad: int = 0
    late_good: int = 0
    late_bad: int = 0
    wait_s: float | None = None
    cost: float = 1.0


def share(good: int, bad: int) -> float:
    """Return the share of good ones, as if one of each had been seen before: nobody is sure of few."""
    return (good + 1.0) / (good + bad + 2.0)


def score(standing: Standing) -> float:
    """Return a number, higher is better, below 1 at the usual cost: success over days and of late, a short queue, a low cost.

    Data locality is no part of it: a job whose input lies at a site is pinned there, so it has no choice.
    """
    reliable = share(standing.good, standing.bad) * share(standing.late_good, standing.late_bad)
    prompt = 1.0 / (1.0 + (standing.wait_s or 0.0) / HOUR_S)
    return reliable * prompt / max(standing.cost, 0.01)


def cut_off(good: int, bad: int, *, below: float, attempts: int) -> bool:
    """Whether a site's record is too poor to give it more work (PA-213): few attempts say nothing."""
    return good + bad >= attempts and good < below * (good + bad)

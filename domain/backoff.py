"""How long to wait before the next attempt: one table of curves, to which others add their own (PA-404)."""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

DOUBLINGS = 62
"""More of them than this and a float of seconds says nothing any more."""


class Failed(NamedTuple):
    """What a curve may look at: `n` failures so far of the same blame, from 1 on, and of the last one: its blame, the type of
    its job, the rule that it came under, its exit code, where it was."""

    n: int
    blame: str = ""
    type: str = ""
    rule: str = ""
    code: int = 0
    site: str = ""
    node: str = ""


Curve = Callable[[Failed], float]
"""The longest wait before the next attempt in units of the base: finite, 0 or more, the same whenever it is asked for the same."""

CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "fixed": lambda _: 1.0,
        "linear": lambda failed: float(failed.n),
        "squared": lambda failed: float(failed.n**2),
        "exponential": lambda failed: 2.0 ** min(failed.n - 1, DOUBLINGS),
    }
)
PAUSE = "pause"
"""Instead of a curve: wait for a person."""


def longest(curve: Curve, failed: Failed, base_s: float, cap_s: float) -> float:
    """Return the longest wait in seconds; the real one is drawn below it. Raises ValueError for a curve that gives no time."""
    units = float(curve(failed))
    if not math.isfinite(units) or units < 0:
        raise ValueError(f"it gave {units!r} for failure {failed.n}, expected a number from 0 on")
    return min(cap_s, base_s * units)

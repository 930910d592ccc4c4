"""How long to wait before the next attempt: one table of curves (PA-404)."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

DOUBLINGS = 62
"""More of them than this and a float of seconds says nothing any more."""

Curve = Callable[[int], float]
"""The wait before attempt n + 1 in units of the base, n = failures so far of the same blame."""

CURVES: Mapping[str, Curve] = MappingProxyType(
    {
        "fixed": lambda _: 1.0,
        "linear": float,
        "squared": lambda n: float(n * n),
        "exponential": lambda n: 2.0 ** min(n - 1, DOUBLINGS),
    }
)
PAUSE = "pause"
"""Instead of a curve: wait for a person."""


def longest(curve: str, n: int, base_s: float, cap_s: float) -> float:
    """Return the longest wait in seconds after the n-th failure (from 1 on) of one blame; the real one is drawn below it."""
    return min(cap_s, base_s * CURVES[curve](n))

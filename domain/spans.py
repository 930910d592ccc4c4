"""Times as people write them: "90 s", "15 min", "36 h", "7 d"."""

import re

UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0, "w": 7 * 86400.0, "y": 365 * 86400.0}
"""Seconds of each unit."""
_SPAN = re.compile(r"(-?\d+(?:\.\d+)?) ?(ms|s|min|h|d|w|y)")


def seconds(span: str) -> float:
    """Return a written time in seconds. Raises ValueError, with what was expected, for what is none."""
    match = _SPAN.fullmatch(span)
    if match is None:
        raise ValueError(f"got {span!r}, expected a time such as 36 h")
    return float(match.group(1)) * UNITS[match.group(2)]


def written(seconds: float) -> str:
    """Return a time in its two largest units."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size or (unit == "s" and not parts):
            parts.append(f"{left // size} {unit}")
            left %= size
    return " ".join(parts[:2])

"""How values are written on the pages."""

import time
from datetime import UTC, datetime

from domain.spans import written

BAD = frozenset(
    {"failed", "exhausted", "lost", "paused", "parked", "quarantined", "invalid", "removefailed", "error", "critical",
     "stopped", "backing-off", "aborted", "revoked", "blocked", "refused", "down"}
)  # fmt: skip
GOOD = frozenset(
    {"success", "cleaned", "completed", "catalogued", "safe", "idle", "busy", "running", "active", "enabled", "open"}
)
WARNED = frozenset(
    {
        "warning",
        "cooloff",
        "waiting",
        "disabled",
        "killed",
        "drain",
        "drain-merge",
        "drain-processing",
        "test",
        "half-open",
    }
)


def tone(word: str) -> str:
    """Return the class of a state."""
    return "bad" if word in BAD else "good" if word in GOOD else "warn" if word in WARNED else ""


def many(value: int) -> str:
    """Return a number in groups of three."""
    return f"{value:,}".replace(",", "\N{THIN SPACE}")


def ago(moment: float) -> str:
    return f"{written(time.time() - moment)} ago"


def until(moment: float) -> str:
    left = moment - time.time()
    return f"in {written(left)}" if left >= 1 else "now"


def clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%S")


def last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "-"


FILTERS = {each.__name__: each for each in (tone, many, ago, until, clock, last_line)} | {"span": written}

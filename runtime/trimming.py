"""Empties the directory of a job that is over and took too much, but for what says what it was and how it ended."""

import os

KEPT = ("spec.json", "report.json", ".report.json", "parcel", "run", "cancelled")
"""Names that stay, of both kinds of spool (runtime/spool.py, runtime/site_spool.py)."""


def trim(directory: str, most: int) -> int:
    """Return the bytes that were freed: 0 where there are at most `most`, or the directory is gone."""
    before = _taken(directory)
    if before <= most:
        return 0
    from runtime.attempt import remove  # noqa: PLC0415 -- brings all that runs a job, which most calls of the clerk do without

    remove(directory, KEPT)
    return before - _taken(directory)


def _taken(directory: str) -> int:
    """Return the bytes that files below a directory take on their disk; what disappears meanwhile is not counted."""
    total = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return total

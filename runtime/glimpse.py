"""Looks at a running attempt: its heartbeat, and the end of its log."""

import os
from typing import NamedTuple, Optional

from runtime import spool

Glimpse = NamedTuple("Glimpse", [("beat", Optional[str]), ("log", str), ("log_bytes", int)])
"""`beat`: the heartbeat, None before the first; `log`: the end of the log; `log_bytes`: how long all of it is."""


def glimpse(directory: str, tail: int, heartbeat: str = spool.HEARTBEAT, log: str = spool.LOG) -> Glimpse:
    """Return what the directory of an attempt shows in its files of these names, and the last `tail` bytes of the log."""
    beat: Optional[str] = None
    said, size = "", 0
    try:
        with open(os.path.join(directory, heartbeat), encoding="utf-8", errors="replace") as source:
            beat = source.read()
    except OSError:
        pass
    try:
        with open(os.path.join(directory, log), "rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            if tail:
                stream.seek(max(0, size - tail))
                said = stream.read(tail).decode("utf-8", "replace")
    except OSError:
        pass
    return Glimpse(beat, said, size)

"""One job of a node or pilot that has not ended."""

from typing import Optional

from runtime.recovery import Batch


class Entry(object):
    """Where its specification stands, what it needs, who runs it: `pid`, or `handle` on it if an earlier daemon started it."""

    __slots__ = (
        "batch",
        "cancelled",
        "cores",
        "handle",
        "kill_at",
        "length",
        "losses",
        "memory",
        "offset",
        "over",
        "pid",
        "token",
        "wall",
    )

    def __init__(self, token: str, cores: int, batch: Batch, offset: int, length: int) -> None:
        self.token = token
        self.cores = cores
        self.batch = batch
        self.offset = offset
        self.length = length
        self.memory = 0
        self.wall = 0.0
        self.pid = 0
        self.handle = -1
        self.losses = 0
        self.cancelled = False
        self.over = False
        self.kill_at: Optional[float] = None

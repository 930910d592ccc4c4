"""Writes the journal of a node: segments that only grow."""

import os
from typing import Any, Dict, List, Set, Tuple

from runtime import spool
from runtime.spool import Spool


class Journal(object):
    """The segments of one spool directory, opened for appending; forked processes write through them too."""

    def __init__(self, where: Spool) -> None:
        self._where = where
        self._open: Dict[int, int] = {}
        self._unsaid: List[Tuple[int, bytes]] = []
        self.current = max(where.segments() or [1])

    def descriptor(self, segment: int) -> int:
        """Return where the lines of a segment go."""
        if segment not in self._open:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
            self._open[segment] = os.open(self._where.segment(segment), flags, 0o644)
        return self._open[segment]

    def accept(self, **record: Any) -> int:
        """Write, flushed to disk, that a submission is accepted; return the segment that all its lines go to."""
        descriptor = self.descriptor(self.current)
        if os.fstat(descriptor).st_size > spool.SEGMENT_BYTES:
            self.current += 1
            descriptor = self.descriptor(self.current)
        spool.append(descriptor, spool.line(spool.ACCEPTED, "", **record))
        os.fsync(descriptor)
        return self.current

    def end(self, segment: int, token: str, **record: Any) -> None:
        """Write the end of a job that could not do so itself; kept and repeated while the disk is full."""
        self._unsaid.append((segment, spool.line(spool.ENDED, token, **record)))
        self.say_unsaid()

    def say_unsaid(self) -> bool:
        """Write what could not be written before; False if it still cannot."""
        while self._unsaid:
            segment, text = self._unsaid[0]
            try:
                spool.append(self.descriptor(segment), text)
            except OSError:
                return False
            del self._unsaid[0]
        return True

    def forget(self, live: Set[int]) -> None:
        """Close the segments that no live job writes to."""
        for segment in [number for number in self._open if number not in live and number != self.current]:
            os.close(self._open.pop(segment))

    def close(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

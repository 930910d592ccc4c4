"""Finds out what an earlier daemon left: what ended, who runs still, what waits."""

import json
import os
from typing import Any, Dict, List, Optional, Set

from runtime import spool
from runtime.spool import Spool


class Batch(object):
    """A submission: its segment of the journal, and how many of its jobs have not ended.

    `fresh`: no daemon before this one can have started any of them. The specifications stay in the file: a long queue
    makes a daemon neither large nor slow to fork.
    """

    __slots__ = ("boot", "fresh", "left", "name", "path", "segment")

    def __init__(self, name: str, path: str, segment: int, boot: str) -> None:
        self.name = name
        self.path = path
        self.segment = segment
        self.boot = boot
        self.left = 0
        self.fresh = False

    def header(self) -> Dict[str, Any]:
        """Return the first line: `slots`, `idle_s` and `jobs`, plus `start`, where the specifications begin.

        A job is its token, its cores, the length of its specification; for pilots also memory in MB and wall time in seconds.
        """
        with open(self.path, "rb") as source:
            text = source.readline()
        header = dict(json.loads(text.decode()), start=len(text))
        header["jobs"] = [(str(job[0]), *(int(number) for number in job[1:])) for job in header["jobs"]]
        return header


class Past(object):
    """What the journal says: which tokens ended, which batches were accepted, on which boot."""

    def __init__(self, where: Spool) -> None:
        self.ended: Set[str] = set()
        self.batches: Dict[str, Batch] = {}
        self._where = where
        self._read: Dict[int, int] = {}
        self.read_on()

    def read_on(self) -> None:
        """Read what was appended since the last time."""
        for number in self._where.segments():
            with open(self._where.segment(number), "rb") as source:
                source.seek(self._read.get(number, 0))
                raw = source.read()
            whole = raw.rfind(b"\n") + 1
            self._read[number] = self._read.get(number, 0) + whole
            for text in raw[:whole].split(b"\n"):
                self._take(number, text)

    def _take(self, number: int, text: bytes) -> None:
        token = _token(text, spool.ENDED)
        if token is not None:
            self.ended.add(token)
        elif _token(text, spool.ACCEPTED) is not None:
            try:
                record = json.loads(text.decode())
                name = record["batch"]
                path = os.path.join(self._where.batches, name + ".jobs")
                self.batches[name] = Batch(name, path, number, record["boot"])
            except (ValueError, KeyError):
                pass


def _token(text: bytes, event: str) -> Optional[str]:
    """Return the token of a line that tells of `event` and is whole, without decoding all of it."""
    head = b'{"event":"' + event.encode() + b'","token":"'
    if text.startswith(head) and text.endswith(b"}"):
        return text[len(head) : text.index(b'"', len(head))].decode()
    return None


def claim_of(path: str) -> Optional[str]:
    """Return who made the claim at `path`, or None if nobody did."""
    try:
        return os.readlink(path)
    except OSError:
        return None


def claim(path: str, who: str) -> bool:
    """Make the claim at `path` for `who`, for good; False if it is somebody else's.

    A network file system may repeat a call whose answer was lost: what stands there in our own name is ours.
    """
    try:
        os.symlink(who, path)
    except FileExistsError:
        return claim_of(path) == who
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        return claim(path, who)
    return True


def pending(where: Spool) -> List[str]:
    """Return the names of accepted submissions that are not finished, oldest first."""
    found = [entry for entry in os.scandir(where.batches) if entry.name.endswith(".jobs")]
    return [entry.name[:-5] for entry in sorted(found, key=lambda entry: entry.stat().st_mtime_ns)]

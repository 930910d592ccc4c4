"""The directory, on a site's shared file system, through which an agent and its pilots speak: no pilot needs a network.

batches/B.jobs        a submission, put there whole: line 1 a header, then one line per job; never changed
claims/TT/TOKEN       names the one pilot that may run the attempt, or "cancelled" or "void": it is made once
journal/WRITER.jsonl  what happened; each pilot writes its own file, the agent's desk another
jobs/BB/B/TOKEN/      where an attempt runs
pilots/NAME           a pilot's sign of life: who it is, written anew each SIGN_S
pilots/NAME.told/     what it is told: the tokens to cancel, or STOP
sandboxes/SHA/        unpacked sandboxes, shared

Everything rests on rename, symlink and unlink being atomic on the server, as POSIX and NFS have it.
"""

import json
import os
import time
from contextlib import suppress
from typing import Any, Dict, List

from runtime.spool import Spool

SIGN_S = 15.0
"""Seconds between two signs of life."""
LEASE_S = 300.0
"""A pilot that has not shown a sign of life for so long gives up its jobs by itself; seconds."""
LEFT = "left"
"""The last line of a pilot that ended in order."""
STOP = ".stop"
VOID = "void"
"""A claim of this name says: never accepted, and never will be."""
CANCELLED = "cancelled"


class Shared(Spool):
    """The places below one directory, as one writer of the journal sees them."""

    def __init__(self, root: str, writer: str) -> None:
        super().__init__(root)
        self.writer = writer
        self.claims = os.path.join(root, "claims")
        self.pilots = os.path.join(root, "pilots")

    def create(self) -> None:
        """Make the directories; safe to repeat."""
        for place in (self.batches, self.claims, self.journal, self.jobs, self.pilots, self.sandboxes, self.drafts):
            os.makedirs(place, exist_ok=True)

    def batch(self, name: str) -> str:
        return os.path.join(self.batches, name + ".jobs")

    def claim(self, batch: str, token: str) -> str:  # noqa: ARG002
        return self.claim_of(token)

    def claim_of(self, token: str) -> str:
        """Return where the claim of an attempt is made, whatever submission it came with."""
        return os.path.join(self.claims, token[:2], token)

    def release(self, batch: str, token: str) -> None:
        """Do nothing: a claim stays as long as anybody can see the submission."""

    def segments(self) -> List[int]:
        return [1]

    def segment(self, number: int) -> str:  # noqa: ARG002
        return self.journal_of(self.writer)

    def journal_of(self, writer: str) -> str:
        return os.path.join(self.journal, writer + ".jsonl")

    def sign(self, pilot: str) -> str:
        return os.path.join(self.pilots, pilot)

    def told(self, pilot: str) -> str:
        return os.path.join(self.pilots, pilot + ".told")


def show_sign(where: Shared, name: str, said: Dict[str, Any]) -> None:
    """Write a pilot's sign of life; its age is told by the file server's clock alone."""
    path = os.path.join(where.drafts, name + ".sign")
    with open(path, "w") as sink:
        json.dump(dict(said, at=time.time()), sink)
    os.rename(path, where.sign(name))


def tell(where: Shared, pilot: str, word: str) -> None:
    """Leave a word for a pilot, which looks each few seconds."""
    os.makedirs(where.told(pilot), exist_ok=True)
    with open(os.path.join(where.told(pilot), word), "w"):
        pass


def heard(where: Shared, pilot: str) -> List[str]:
    """Return the words left for a pilot."""
    with suppress(OSError):
        return os.listdir(where.told(pilot))
    return []

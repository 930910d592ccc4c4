"""The directory through which an agent and a node daemon speak: its places and the lines of its journal.

inbox/B.jobs      a submission, put there whole by the agent   line 1: header, then one line per job
inbox/B.cancel    tokens to cancel                             a JSON list
batches/B.jobs    a submission that the daemon has accepted and not yet finished
journal/N.jsonl   what happened; all lines of a submission are in one segment
jobs/BB/B/TOKEN/  where an attempt runs; TOKEN.claim beside it names the one process that may run it
sandboxes/SHA/    unpacked sandboxes, shared
node.lock         held by the daemon while it lives; its pid is inside
node.wake         a FIFO: a byte wakes the daemon
"""

import json
import os
from contextlib import suppress
from typing import Any, Dict, List

ACCEPTED = "accepted"
STARTED = "started"
ENDED = "ended"
CLEANED = "cleaned"

SEGMENT_BYTES = 16 * 1024 * 1024
"""A segment of the journal that has grown beyond this takes no more submissions."""
INLINE_BYTES = 256 * 1024
"""A larger report lies in the attempt's directory and not in the journal."""
REPORT = ".report.json"
LOG = ".payload.log"
HEARTBEAT = ".heartbeat.json"
"""All in the attempt's directory."""


_encode = json.JSONEncoder(separators=(",", ":")).encode


class Spool(object):
    """The places below one directory."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.inbox = os.path.join(root, "inbox")
        self.batches = os.path.join(root, "batches")
        self.journal = os.path.join(root, "journal")
        self.jobs = os.path.join(root, "jobs")
        self.sandboxes = os.path.join(root, "sandboxes")
        self.drafts = os.path.join(root, "drafts")
        self.lock = os.path.join(root, "node.lock")
        self.wake = os.path.join(root, "node.wake")
        self.log = os.path.join(root, "node.log")

    def create(self) -> None:
        """Make the directories; safe to repeat."""
        for place in (self.inbox, self.batches, self.journal, self.jobs, self.sandboxes, self.drafts):
            os.makedirs(place, exist_ok=True)
        if not os.path.exists(self.wake):
            with suppress(FileExistsError):
                os.mkfifo(self.wake)

    def batch_directory(self, batch: str) -> str:
        return os.path.join(self.jobs, batch[:2], batch)

    def job(self, batch: str, token: str) -> str:
        return os.path.join(self.jobs, batch[:2], batch, token)

    def claim(self, batch: str, token: str) -> str:
        """Return where the claim of an attempt is made: a symbolic link to the name of who may run it."""
        return self.job(batch, token) + ".claim"

    def release(self, batch: str, token: str) -> None:
        """Forget the claim of an attempt that is over and in the journal."""
        with suppress(OSError):
            os.unlink(self.claim(batch, token))

    def segments(self) -> List[int]:
        """Return the numbers of the journal's segments, oldest first."""
        return sorted(int(name[:-6]) for name in os.listdir(self.journal) if name.endswith(".jsonl"))

    def segment(self, number: int) -> str:
        return os.path.join(self.journal, "%06d.jsonl" % number)


def line(event: str, token: str, **more: Any) -> bytes:
    """Return a line of the journal; it begins with a newline, so that a torn one before it spoils only itself."""
    record: Dict[str, Any] = {"event": event, "token": token}
    record.update(more)
    return b"\n" + _encode(record).encode() + b"\n"


def ended_with_report(token: str, code: int, reason: str, at: float, raw: bytes) -> bytes:
    """Return the line of an attempt's end with its report inside, without encoding the report again."""
    head = line(ENDED, token, code=code, reason=reason, at=at)
    return head[:-2] + b',"report":' + raw + b"}\n"


def append(descriptor: int, raw: bytes) -> None:
    """Append a whole line to a journal opened with O_APPEND, in one write; a short write is repeated whole."""
    for _ in range(3):
        if os.write(descriptor, raw) == len(raw):
            return
    raise OSError("the journal takes no more lines")

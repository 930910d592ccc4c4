"""The directory of a batch target on a site's shared file system, and the four things that are done to a token in it.

jobs/TT/TOKEN/            made by whoever is first: the submission of the token, or the question for it
    spec.json             the job
    parcel                symbolic link to "NAME/INDEX": in which call to the batch system it was handed over
    run                   symbolic link: who runs it; it exists once, so a token runs at most once. VOID: nobody ever will
    cancelled             it was told to end
    report.json, heartbeat.json, payload.log, work/
parcels/NAME.tokens       the tokens of one call to the batch system, one per line, in the order of their indices
parcels/NAME.sh           what each of them runs
parcels/NAME.log          what that printed, should it fail
parcels/NAME.sent         what the batch system answered to it
ends/TOKEN                the sentinel: how the attempt ended
sandboxes/                unpacked sandboxes, shared

mkdir(2), symlink(2) and rename(2) decide who is first on NFS too; no lock is used.
"""

import json
import os
from contextlib import suppress
from typing import Any, Dict, Optional, Tuple

from runtime import report

HEARTBEAT, LOG = "heartbeat.json", "payload.log"
"""In the directory of a token, as in one that is run by hand."""

VOID = "void"
"""Who "runs" an attempt that must never run."""
VOID_KEPT_S = 2 * 86400.0
"""How long the mark of a token that was asked for and never submitted is kept, in seconds."""

_encode = json.JSONEncoder(separators=(",", ":")).encode


class SiteSpool(object):
    """The places below one directory."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.jobs = os.path.join(root, "jobs")
        self.parcels = os.path.join(root, "parcels")
        self.ends = os.path.join(root, "ends")
        self.sandboxes = os.path.join(root, "sandboxes")

    def create(self) -> None:
        """Make the directories; safe to repeat."""
        for place in (self.jobs, self.parcels, self.ends, self.sandboxes):
            os.makedirs(place, exist_ok=True)

    def job(self, token: str) -> str:
        return os.path.join(self.jobs, token[:2], token)

    def begin(self, token: str) -> bool:
        """Make the directory of a token; False if it is there."""
        try:
            os.mkdir(self.job(token))
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.job(token)), exist_ok=True)
            return self.begin(token)
        except FileExistsError:
            return False
        return True

    def claim(self, token: str, who: str) -> bool:
        """Take the one right to run a token; False if it is taken. Raise OSError if the token has no directory."""
        try:
            os.symlink(who, os.path.join(self.job(token), "run"))
        except FileExistsError:
            return False
        return True

    def runner(self, token: str) -> Optional[str]:
        """Return who runs or ran a token, VOID, or None."""
        return _link(os.path.join(self.job(token), "run"))

    def parcel(self, token: str) -> Optional[Tuple[str, int]]:
        """Return with which call to the batch system, and at which place in it, a token was handed over."""
        found = _link(os.path.join(self.job(token), "parcel"))
        if found is None:
            return None
        name, _, index = found.rpartition("/")
        return name, int(index)

    def end(self, token: str, code: int, reason: str, **more: Any) -> None:
        """Write the sentinel: the runtime's exit code, or minus the signal that ended it, and why if it was told to."""
        record = dict(more, token=token, code=code, reason=reason)
        report.write(os.path.join(self.ends, token), _encode(record).encode())

    def ended(self, token: str) -> Optional[Dict[str, Any]]:
        """Return the sentinel, or None."""
        return read(os.path.join(self.ends, token))


def read(path: str) -> Optional[Dict[str, Any]]:
    """Return the JSON object of a file that was renamed into place, or None if there is none."""
    with suppress(OSError, ValueError):
        with open(path) as source:
            found = json.load(source)
        if isinstance(found, dict):
            return found
    return None


def _link(path: str) -> Optional[str]:
    try:
        return os.readlink(path)
    except OSError:
        return None

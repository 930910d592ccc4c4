"""Runs one attempt in a slot of a batch system, on the worker node."""

import json
import os
import socket
import sys
import time
from contextlib import suppress
from typing import Any, Dict

from runtime import codes, process, report
from runtime.attempt import remove
from runtime.job import Job
from runtime.scratch import working_directory
from runtime.site_spool import HEARTBEAT, LOG, SiteSpool

NOT_OURS = 0
"""Exit status when the token has been taken or is fenced: for the batch system that is a good end."""


def attend(root: str, token: str, batch_id: str) -> int:
    """Run the attempt if nobody has begun it, and leave report and sentinel; return the exit status."""
    where = SiteSpool(root)
    directory = where.job(token)
    who = "{}:{}:{}".format(socket.gethostname(), os.getpid(), batch_id)
    try:
        if not where.claim(token, who):
            return NOT_OURS
    except OSError as fault:
        sys.stderr.write("{}: {}\n".format(token, fault))  # cleaned: nobody waits for it any more
        return NOT_OURS
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    began = time.time()
    scratch, log = working_directory(os.path.join(directory, "work"), token), os.path.join(directory, LOG)
    beat = os.path.join(directory, HEARTBEAT)
    process.adopt_strays()
    job = Job(_spec(directory), token, scratch, log, where.sandboxes, node, beat)
    job.save = lambda done: _leave(directory, done)
    done = job.run()
    os.chdir("/")
    remove(scratch)
    if not _leave(directory, done):
        _unlink(log)  # its space may be what is missing
        _leave(directory, done)
    status = codes.exit_status(done["exit_code"])
    reason = ""
    if done["exit_code"] and os.path.exists(os.path.join(directory, "cancelled")):
        reason = "cancelled"
    where.end(token, status, reason, began=began, at=time.time(), node=node, batch_id=batch_id)
    return status


def _leave(directory: str, done: Dict[str, Any]) -> bool:
    """Put the report in place; False if the file system does not take it."""
    try:
        report.write(os.path.join(directory, "report.json"), report.encode(done))
    except OSError as fault:
        sys.stderr.write("{}: no report can be written: {}\n".format(directory, fault))
        return False
    return True


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


def serve(root: str, parcel: str, index: int, batch_id: str) -> int:
    """Run the attempt at a place of a parcel; a parcel that is gone was cleaned, and nobody waits for it."""
    try:
        token = _token_of(root, parcel, index)
    except (OSError, IndexError) as fault:
        sys.stderr.write("{}: {}\n".format(parcel, fault))
        return NOT_OURS
    return attend(root, token, batch_id)


def _token_of(root: str, parcel: str, index: int) -> str:
    """Return the token at a place of a parcel."""
    with open(os.path.join(SiteSpool(root).parcels, parcel + ".tokens")) as source:
        return source.read().split()[index]


def _spec(directory: str) -> Any:
    try:
        with open(os.path.join(directory, "spec.json"), encoding="utf-8") as source:
            return json.load(source)
    except (OSError, ValueError) as fault:
        return "unreadable: {}".format(fault)

"""Runs one job of a node: claims it, runs it, says in the journal how it ended."""

import json
import os
import sys
import time
from typing import Any, Dict, Iterable, NamedTuple

from runtime import codes, recovery, report, spool
from runtime.job import Job
from runtime.scratch import working_directory
from runtime.spool import Spool

DONE = 0
TAKEN = 1
UNSAID = 2
"""The end is in the journal; another process has the job; the journal took no line."""

Order = NamedTuple("Order", [("batch", str), ("token", str), ("segment", int), ("offset", int), ("length", int)])
"""A job to run: where its specification stands in the file of its submission, and where its lines go."""


def attend(where: Spool, order: Order, journal: int, who: str, node: str) -> int:
    """Run a job of an accepted submission in this process, whose identity is `who`, if nobody has; return how that went."""
    try:
        if not recovery.claim(where.claim(order.batch, order.token), who):
            return TAKEN
    except OSError as fault:
        sys.stderr.write("{}: {}\n".format(order.token, fault))
        return UNSAID
    return perform(where, order, journal, who, node)


def perform(where: Spool, order: Order, journal: int, who: str, node: str) -> int:
    """Run a job that this process, or the pilot that it belongs to, has claimed; return how that went."""
    directory = where.job(order.batch, order.token)
    scratch = working_directory(directory, order.token)
    try:
        if scratch != directory:
            os.mkdir(directory)
        spool.append(journal, spool.line(spool.STARTED, order.token, who=who, at=time.time(), node=node))
        done = Job(
            _read(where, order),
            order.token,
            scratch=scratch,
            log=os.path.join(directory, spool.LOG),
            sandboxes=where.sandboxes,
            node=node,
            heartbeat=os.path.join(directory, spool.HEARTBEAT),
        ).run()
        _say(done, order.token, directory, journal)
    except OSError as fault:
        sys.stderr.write("{}: {}\n".format(order.token, fault))
        return UNSAID
    os.chdir("/")
    if scratch != directory:
        remove(scratch)
    if not _tidy(directory, bool(done["exit_code"])):
        where.release(order.batch, order.token)
    return DONE


def _read(where: Spool, order: Order) -> Any:
    """Return the specification as it was submitted."""
    try:
        batch = os.open(os.path.join(where.batches, order.batch + ".jobs"), os.O_RDONLY)
        try:
            return json.loads(os.pread(batch, order.length, order.offset).decode())
        finally:
            os.close(batch)
    except (OSError, ValueError) as fault:
        return "unreadable: {}".format(fault)


def _say(done: Dict[str, Any], token: str, directory: str, journal: int) -> None:
    raw = report.encode(done)
    code = codes.exit_status(done["exit_code"])
    reason = "cancelled" if done["exit_code"] == codes.CANCELLED else ""
    text = spool.ended_with_report(token, code, reason, done["ended_at"], raw)
    try:
        if len(raw) > spool.INLINE_BYTES:
            report.write(os.path.join(directory, spool.REPORT), raw)
            text = spool.line(spool.ENDED, token, code=code, reason=reason, at=done["ended_at"], file=True)
        spool.append(journal, text)
    except OSError:
        remove(directory, {spool.REPORT})  # its space may be what is missing
        spool.append(journal, text)


def _tidy(directory: str, failed: bool) -> bool:
    """Remove what nobody asks for any more: all but log and report; True if anything stays."""
    keep = {spool.REPORT}
    log = os.path.join(directory, spool.LOG)
    if failed or _size(log):
        keep.add(spool.LOG)
    return remove(directory, keep)


def remove(directory: str, keep: Iterable[str] = ()) -> bool:
    """Remove a directory with all that is in it but the names to keep, as far as possible; True if anything stays."""
    stays = False
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.name in keep:
                    stays = True
                elif entry.is_dir(follow_symlinks=False):
                    stays = remove(entry.path) or stays
                else:
                    os.unlink(entry.path)
        if not stays:
            os.rmdir(directory)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return stays


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0

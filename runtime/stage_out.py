"""Brings a file to a storage element: whole, verified, under its final name, or not at all."""

import errno
import os
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, NamedTuple, Sequence

from runtime import codes
from runtime.checksum import Digest
from runtime.mover import Mover, open_mover
from runtime.problem import Problem

TRIES = 3

STEP = "stage-out"

NO_ROOM = ("No space left", "uota exceeded", "[3009]", "[3021]", "status 507", "status 413")
"""What tools and servers say of a full storage element: strerror, XProtocol.hh (kXR_NoSpace, kXR_overQuota), RFC 4918."""

Placed = NamedTuple("Placed", [("pfn", str), ("digest", Digest), ("site", str)])
"""A file under its final name, and the `site` of the rule that brought it there."""

Mine = NamedTuple("Mine", [("mover", Mover), ("temporary", str), ("pfn", str), ("identity", str), ("digest", Digest)])
"""A file that this attempt has published, or was about to."""


class StageOut(object):
    """The way out of one attempt's files. `accept` sees a file's digest before anything is published."""

    def __init__(
        self, token: str, pauses: Sequence[float], accept: Callable[[Digest], None], tries: int = TRIES
    ) -> None:
        self._token = token
        self._pauses = pauses
        self._accept = accept
        self._tries = tries
        self._mine: List[Mine] = []

    def run(self, source: str, lfn: str, rules: Sequence[Dict[str, Any]]) -> Placed:
        """Copy `source` by the first rule that works.

        A file of that name that holds the same bytes is adopted; one that does not is a Problem, and is left alone.
        """
        failures: List[str] = []
        code = codes.STAGE_OUT
        for rule in rules:
            mover = open_mover(rule)
            for attempt in range(self._tries):
                if attempt and self._pauses:
                    time.sleep(self._pauses[min(attempt, len(self._pauses)) - 1])
                try:
                    return self._place(mover, source, mover.pfn(lfn))
                except OSError as fault:
                    if _no_room(fault):
                        code = codes.STORAGE_FULL
                    failures.append(str(fault))
                except _Damaged as fault:
                    code = codes.CHECKSUM_FAILED
                    failures.append(str(fault))
        raise Problem(code, "stage-out of {} failed: {}".format(lfn, "; ".join(failures)), STEP)

    def withdraw(self) -> None:
        """Remove what this attempt published, unless another file has that name by now."""
        for mine in self._mine:
            with suppress(OSError):
                if _is_mine(mine):
                    mine.mover.remove(mine.pfn)

    def _place(self, mover: Mover, source: str, pfn: str) -> Placed:
        folder, name = os.path.split(pfn)
        temporary = "{}/.{}.{}.part".format(folder, name, self._token) if mover.renames else pfn
        if not mover.renames and mover.exists(pfn):
            return self._adopt(mover, source, pfn)
        published = False
        try:
            digest = mover.put(source, temporary)
            _verify(mover, temporary, digest)
            self._accept(digest)
            self._mine.append(Mine(mover, temporary, pfn, mover.identity(temporary), digest))
            published = not mover.renames or self._publish(mover, temporary, pfn, digest)
        finally:
            if mover.renames or not published:
                with suppress(OSError):
                    mover.remove(temporary)
        return Placed(pfn, digest, str(mover.rule.get("site") or ""))

    def _publish(self, mover: Mover, temporary: str, pfn: str, digest: Digest) -> bool:
        try:
            mover.publish(temporary, pfn)
        except FileExistsError:
            self._mine.pop()
            _same_or_refused(mover, pfn, digest)
        return True

    def _adopt(self, mover: Mover, source: str, pfn: str) -> Placed:
        digest = mover.digest(source)
        self._accept(digest)
        _same_or_refused(mover, pfn, digest)
        return Placed(pfn, digest, str(mover.rule.get("site") or ""))


def _no_room(fault: OSError) -> bool:
    return fault.errno in (errno.ENOSPC, errno.EDQUOT) or any(words in str(fault) for words in NO_ROOM)


def _same_or_refused(mover: Mover, pfn: str, digest: Digest) -> None:
    if not mover.reads or not mover.read_back(pfn).same(digest):
        raise Problem(codes.STAGE_OUT, "{} exists with another content and is not overwritten".format(pfn), STEP)


def _verify(mover: Mover, temporary: str, digest: Digest) -> None:
    if not mover.reads:
        return
    back = mover.read_back(temporary)
    if not back.same(digest):
        text = "{} reads back as {} bytes with adler32 {}, written were {} with {}"
        raise _Damaged(text.format(temporary, back.size, back.adler32, digest.size, digest.adler32))


def _is_mine(mine: Mine) -> bool:
    """Return whether the published file is the one of this attempt; in the middle of publishing it may be nobody's."""
    if mine.identity:
        return mine.mover.identity(mine.pfn) == mine.identity
    if mine.temporary != mine.pfn and mine.mover.exists(mine.temporary):
        return False
    return not mine.mover.reads or mine.mover.read_back(mine.pfn).same(mine.digest)


class _Damaged(Exception):  # noqa: N818
    pass

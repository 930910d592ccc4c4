"""Brings an output to a storage element: whole, verified, under its final name, or not at all."""

import os
import time
from contextlib import suppress
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

from runtime import codes
from runtime.checksum import BLOCK, Digest, digest_of
from runtime.problem import Problem

TRIES = 3

STEP = "stage-out"

Placed = NamedTuple("Placed", [("pfn", str), ("digest", Digest)])
"""An output under its final name."""


class StageOut(object):
    """The way out of one attempt's output. `accept` sees the copy's digest before anything is published."""

    def __init__(self, token: str, pauses: Sequence[float], accept: Callable[[Digest], None]) -> None:
        self._token = token
        self._pauses = pauses
        self._accept = accept
        self._mine: List[Tuple[str, int]] = []

    def run(self, source: str, lfn: str, rules: Sequence[Dict[str, Any]]) -> Placed:
        """Copy `source` by the first rule that works.

        A file of that name that holds the same bytes is adopted; one that does not is a Problem, and is left alone.
        """
        failures: List[str] = []
        code = codes.STAGE_OUT
        for rule in rules:
            for attempt in range(TRIES):
                if attempt and self._pauses:
                    time.sleep(self._pauses[min(attempt, len(self._pauses)) - 1])
                try:
                    return self._place(source, str(rule["root"]).rstrip("/") + lfn, bool(rule.get("sync", True)))
                except OSError as fault:
                    failures.append(str(fault))
                except _Damaged as fault:
                    code = codes.CHECKSUM_FAILED
                    failures.append(str(fault))
        raise Problem(code, "stage-out of {} failed: {}".format(lfn, "; ".join(failures)), STEP)

    def withdraw(self) -> None:
        """Remove what this attempt published, unless another file has that name by now."""
        for pfn, inode in self._mine:
            with suppress(OSError):
                if os.stat(pfn).st_ino == inode:
                    os.unlink(pfn)

    def _place(self, source: str, pfn: str, sync: bool) -> Placed:
        folder, name = os.path.split(pfn)
        temporary = os.path.join(folder, ".{}.{}.part".format(name, self._token))
        try:
            digest = _copy(source, temporary, sync)
            back = digest_of(temporary, uncached=sync)
            if not back.same(digest):
                text = "{} reads back as {} bytes with adler32 {}, written were {} with {}"
                raise _Damaged(text.format(temporary, back.size, back.adler32, digest.size, digest.adler32))
            self._accept(digest)
            self._publish(temporary, pfn, digest)
            if sync:
                _sync(folder)
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(temporary)
        return Placed(pfn, digest)

    def _publish(self, temporary: str, pfn: str, digest: Digest) -> None:
        self._mine.append((pfn, os.stat(temporary).st_ino))
        try:
            os.link(temporary, pfn)
        except FileExistsError:
            if not digest_of(pfn).same(digest):
                text = "{} exists with another content and is not overwritten".format(pfn)
                raise Problem(codes.STAGE_OUT, text, STEP) from None


class _Damaged(Exception):  # noqa: N818
    pass


def _copy(source: str, temporary: str, sync: bool) -> Digest:
    digest = Digest()
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(source, "rb", buffering=0) as reader:
        try:
            sink = os.open(temporary, flags, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(temporary), exist_ok=True)
            sink = os.open(temporary, flags, 0o644)
        try:
            block = reader.read(BLOCK)
            while block:
                digest.update(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(sink, view) :]
                block = reader.read(BLOCK)
            if sync:
                os.fsync(sink)
        finally:
            os.close(sink)
    return digest


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

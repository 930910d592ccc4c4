"""Sums up contents: size, adler32, sha256."""

import asyncio
import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from backends.storage_element.base import Checksums, StorageError

BLOCK = 1 << 20
"""Bytes read at once."""


class Sums:
    """Of a stream of bytes. Both sums let other threads run while they count."""

    def __init__(self) -> None:
        self.size = 0
        self._adler = 1
        self._sha = hashlib.sha256()

    def update(self, block: bytes | bytearray | memoryview) -> None:
        self.size += len(block)
        self._adler = zlib.adler32(block, self._adler)
        self._sha.update(block)

    @property
    def checksums(self) -> Checksums:
        return Checksums(adler32=f"{self._adler:08x}", sha256=self._sha.hexdigest())


class Sha256:
    """Of a stream of bytes that is only compared: the stronger of the two sums."""

    def __init__(self) -> None:
        self.size = 0
        self._sha = hashlib.sha256()

    def update(self, block: bytes | bytearray | memoryview) -> None:
        self.size += len(block)
        self._sha.update(block)

    @property
    def digest(self) -> str:
        return self._sha.hexdigest()


def read_through(path: str | Path | int) -> Sums:
    """Read a local file, or an open descriptor, through; raise OSError."""
    sums = Sums()
    for block in blocks(path):
        sums.update(block)
    return sums


def blocks(path: str | Path | int) -> Iterator[memoryview]:
    """Yield a file's content; each block is good until the next one is asked for. A descriptor stays open."""
    buffer = memoryview(bytearray(BLOCK))
    with open(path, "rb", buffering=0, closefd=not isinstance(path, int)) as reader:
        while count := reader.readinto(buffer):
            yield buffer[:count]


async def sums_of(source: Path) -> Sums:
    """Read a local file through in a thread. Raise StorageError: "missing", or "transient" for anything else."""
    try:
        return await asyncio.to_thread(read_through, source)
    except OSError as fault:
        raise source_fault(source, fault) from fault


def size_of(source: Path) -> int:
    """Return a source's size in bytes; raise StorageError as `sums_of` does."""
    try:
        return os.stat(source).st_size
    except OSError as fault:
        raise source_fault(source, fault) from fault


def source_fault(source: Path, fault: OSError) -> StorageError:
    """Return what a fault in reading a source is in the words of the contract."""
    if isinstance(fault, FileNotFoundError):
        return StorageError(f"source {source} is not there", kind="missing")
    return StorageError(f"source {source}: {fault}", kind="transient")


def forget(target: Path) -> None:
    """Remove what is left of a local file, if anything."""
    with contextlib.suppress(OSError):
        os.unlink(target)


def compare(what: str, sent: Sums, size: int | None, found: Checksums | str) -> None:
    """Raise StorageError("integrity") unless size and checksum of the destination are those of what was sent.

    `found` is both checksums, or one of them alone as the server named it: 64 digits are a sha256, fewer an adler32, which
    is compared as a number because servers drop its leading zeros (XRootD #1483).
    """
    told = sent.checksums
    if isinstance(found, Checksums):
        same, shown = found == told, found.adler32
    elif len(found) == 64:
        same, shown = found.lower() == told.sha256, f"sha256 {found}"
    else:
        same, shown = _number(found) == int(told.adler32, 16), found
    if size != sent.size or not same:
        text = f"{what} reads back as {size} bytes with adler32 {shown}"
        raise StorageError(f"{text}, written were {sent.size} with {told.adler32}", kind="integrity")


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return -1

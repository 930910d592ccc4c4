"""Sums up contents: size, adler32, sha256."""

import asyncio
import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from backends.storage_element.base import Birth, Checksums, StorageError

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

    @property
    def birth(self) -> Birth:
        return Birth(self.size, self.checksums)


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


Summing = TypeVar("Summing", Sums, Sha256)


def summed(sums: Summing, path: str | Path | int) -> Summing:
    """Read a local file, or an open descriptor, through and return `sums` of it; raise OSError."""
    for block in blocks(path):
        sums.update(block)
    return sums


def read_through(path: str | Path | int) -> Sums:
    """Return all sums of a local file, or an open descriptor; raise OSError."""
    return summed(Sums(), path)


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


def compare(what: str, birth: Birth, size: int | None, found: str) -> None:
    """Raise StorageError("integrity") unless size and checksum of the destination are those of the file's birth.

    `found` is one checksum: 64 digits are a sha256, fewer an adler32. They are compared as numbers because servers drop
    leading zeros (XRootD #1483).
    """
    kind = "sha256" if len(found) == 64 else "adler32"
    expected = birth.checksums.sha256 if kind == "sha256" else birth.checksums.adler32
    if size != birth.size or _number(found) != int(expected, 16):
        text = f"{what} reads back as {size} bytes with {kind} {found}"
        raise StorageError(f"{text}, expected {birth.size} with {expected}", kind="integrity")


def _number(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return -1

"""A storage element on a local or mounted filesystem."""

import asyncio
import errno
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from backends.storage_element.base import Checksums, Landed, StorageError

BLOCK = 1 << 20
"""Bytes read at once."""

_Answer = TypeVar("_Answer")

KINDS = {
    errno.ENOENT: "missing",
    errno.EEXIST: "exists",
    errno.ENOSPC: "space",
    errno.EDQUOT: "space",
    errno.EFBIG: "space",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EROFS: "permission",
    errno.ENOTDIR: "permission",
    errno.EISDIR: "permission",
    errno.ELOOP: "permission",
    errno.ENAMETOOLONG: "permission",
}
"""What an error of the system says in the words of the contract; any other is "transient"."""


class PosixSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`root`: the directory below which every LFN lies."""

    root: Annotated[str, Meta(extra={"path": True})]


class PosixStorage:
    """Files below one directory. Nothing is followed out of it: no "..", no symbolic link."""

    def __init__(self, settings: PosixSettings) -> None:
        self._root = os.path.realpath(settings.root)

    def pfn(self, lfn: str) -> str:
        parts = lfn.split("/")
        if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts[1:]):
            raise StorageError(f"{lfn!r} is no LFN: expected /name/name without . and ..", kind="permission")
        return self._root + lfn

    def local_path(self, lfn: str) -> Path | None:
        return Path(self.pfn(lfn))

    async def size(self, lfn: str) -> int | None:
        return await _in_thread(lambda: self._size(lfn))

    async def checksums(self, lfn: str) -> Checksums:
        return await _in_thread(lambda: _read_through(self._safe(lfn), uncached=False)[1])

    async def receive(self, source: Path, lfn: str, fence: str) -> Landed:
        return await _in_thread(lambda: self._receive(source, lfn, fence))

    async def publish(self, landed: Landed, lfn: str) -> None:
        await _in_thread(lambda: self._publish(landed, lfn))

    async def discard(self, lfn: str, fence: str) -> None:
        await _in_thread(lambda: _remove(self._temporary(lfn, fence)))

    async def delete(self, lfn: str) -> bool:
        return await _in_thread(lambda: _remove(self._safe(lfn)))

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        return await _in_thread(lambda: sorted(self._walk(self._root + self._folder(prefix))))

    # what runs in a thread

    def _safe(self, lfn: str) -> str:
        """Return the PFN; refuse one that a symbolic link among its directories leads out of the root."""
        path = self.pfn(lfn)
        folder = os.path.dirname(path)
        if os.path.realpath(folder) != folder:
            raise StorageError(f"{lfn}: {folder} leads through a symbolic link", kind="permission")
        return path

    def _temporary(self, lfn: str, fence: str) -> str:
        if not fence or "/" in fence or "\0" in fence:
            raise StorageError(f"fence {fence!r}: expected a name without /", kind="permission")
        folder, name = os.path.split(self._safe(lfn))
        return os.path.join(folder, f".{name}.{fence}.part")

    def _size(self, lfn: str) -> int | None:
        with suppress(FileNotFoundError, NotADirectoryError):
            return os.stat(self._safe(lfn), follow_symlinks=False).st_size
        return None

    def _receive(self, source: Path, lfn: str, fence: str) -> Landed:
        temporary = self._temporary(lfn, fence)
        _remove(temporary)
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        try:
            size, sums = _copy(source, temporary)
            back, found = _read_through(temporary, uncached=True)
            _compare(temporary, (size, sums), (back, found))
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return Landed(temporary=temporary, size=size, checksums=found)

    def _publish(self, landed: Landed, lfn: str) -> None:
        path = self._safe(lfn)
        if os.path.dirname(landed.temporary) != os.path.dirname(path):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        os.link(landed.temporary, path, follow_symlinks=False)
        os.unlink(landed.temporary)
        _sync(os.path.dirname(path))

    def _folder(self, prefix: str) -> str:
        trimmed = prefix.rstrip("/")
        return self.pfn(trimmed)[len(self._root) :] if trimmed else ""

    def _walk(self, folder: str) -> Iterator[tuple[str, int]]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
            elif entry.is_file(follow_symlinks=False) and not _is_temporary(entry.name):
                yield entry.path[len(self._root) :], entry.stat(follow_symlinks=False).st_size


async def _in_thread(work: Callable[[], _Answer]) -> _Answer:
    try:
        return await asyncio.to_thread(work)
    except OSError as fault:
        raise StorageError(str(fault), kind=KINDS.get(fault.errno or 0, "transient")) from fault


def _copy(source: Path, temporary: str) -> tuple[int, Checksums]:
    adler, sha, size = 1, hashlib.sha256(), 0
    buffer = memoryview(bytearray(BLOCK))
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(source, "rb", buffering=0) as reader, open(os.open(temporary, flags, 0o644), "wb", buffering=0) as sink:
        while count := reader.readinto(buffer):
            block = buffer[:count]
            adler = zlib.adler32(block, adler)
            sha.update(block)
            size += count
            while block:
                block = block[sink.write(block) :]
        os.fsync(sink.fileno())
    return size, Checksums(adler32=f"{adler:08x}", sha256=sha.hexdigest())


def _compare(path: str, written: tuple[int, Checksums], found: tuple[int, Checksums]) -> None:
    if found != written:
        text = f"{path} reads back as {found[0]} bytes with adler32 {found[1].adler32}"
        raise StorageError(f"{text}, written were {written[0]} with {written[1].adler32}", kind="integrity")


def _read_through(path: str, *, uncached: bool) -> tuple[int, Checksums]:
    """Return size and checksums; `uncached`: the kernel drops its pages first, so that the medium answers."""
    adler, sha, size = 1, hashlib.sha256(), 0
    buffer = memoryview(bytearray(BLOCK))
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as reader:
        if uncached:
            os.posix_fadvise(reader.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        while count := reader.readinto(buffer):
            adler = zlib.adler32(buffer[:count], adler)
            sha.update(buffer[:count])
            size += count
    return size, Checksums(adler32=f"{adler:08x}", sha256=sha.hexdigest())


def _remove(path: str) -> bool:
    try:
        os.unlink(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_temporary(name: str) -> bool:
    return name.startswith(".") and name.endswith(".part")

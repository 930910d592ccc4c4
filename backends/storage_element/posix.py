"""A storage element on a local or mounted filesystem."""

import asyncio
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from backends.storage_element import names, room
from backends.storage_element.base import Birth, Checksums, Landed, StorageError
from backends.storage_element.sums import Sha256, Summing, Sums, blocks, compare, read_through, summed

_Answer = TypeVar("_Answer")

PIECE = 64 << 20
"""Bytes that the kernel is asked to copy at once."""

_NOT_THIS_WAY = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What a kernel says that cannot copy between two file systems by itself; nothing is copied then."""

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
        return self._root + names.checked(lfn)

    async def close(self) -> None:
        """Nothing is held."""

    def local_path(self, lfn: str) -> Path | None:
        return Path(self.pfn(lfn))

    async def size(self, lfn: str) -> int | None:
        return await _in_thread(lambda: _size(self._safe(lfn)))

    async def checksums(self, lfn: str) -> Checksums:
        return await _in_thread(lambda: _read(self._safe(lfn), Sums(), uncached=False).checksums)

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        return await _in_thread(lambda: self._receive(source, lfn, fence, birth or read_through(source).birth))

    async def under_way(self, lfn: str, fence: str) -> int | None:
        return await _in_thread(lambda: _size(self._temporary(lfn, fence)))

    async def publish(self, landed: Landed, lfn: str) -> None:
        await _in_thread(lambda: self._publish(landed, lfn))

    async def fetch(self, lfn: str, target: Path) -> Checksums:
        return await _in_thread(lambda: self._fetch(lfn, target))

    async def discard(self, lfn: str, fence: str) -> None:
        await _in_thread(lambda: _remove(self._temporary(lfn, fence)))

    async def delete(self, lfn: str) -> bool:
        return await _in_thread(lambda: _remove(self._safe(lfn)))

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        return await _in_thread(lambda: sorted(self._walk(self._root + names.folder(prefix))))

    async def free(self) -> int:
        return await _in_thread(lambda: room.of_disk(self._root))

    # what runs in a thread

    def _safe(self, lfn: str) -> str:
        """Return the PFN; refuse one that a symbolic link among its directories leads out of the root."""
        path = self.pfn(lfn)
        folder = os.path.dirname(path)
        if os.path.realpath(folder) != folder:
            raise StorageError(f"{lfn}: {folder} leads through a symbolic link", kind="permission")
        return path

    def _temporary(self, lfn: str, fence: str) -> str:
        self._safe(lfn)
        return self._root + names.temporary(lfn, fence)

    def _receive(self, source: Path, lfn: str, fence: str, birth: Birth) -> Landed:
        temporary = self._temporary(lfn, fence)
        _remove(temporary)
        os.makedirs(os.path.dirname(temporary), exist_ok=True)
        _copy(source, temporary)
        try:
            back = _read(temporary, Sha256(), uncached=True)
            compare(temporary, birth, back.size, back.digest)
        except BaseException:
            _forget(temporary)
            raise
        return Landed(temporary=temporary, size=birth.size, checksums=birth.checksums)

    def _fetch(self, lfn: str, target: Path) -> Checksums:
        _copy(self._safe(lfn), str(target), os.O_NOFOLLOW)
        return read_through(target).checksums

    def _publish(self, landed: Landed, lfn: str) -> None:
        path = self._safe(lfn)
        if os.path.dirname(landed.temporary) != os.path.dirname(path):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        os.link(landed.temporary, path, follow_symlinks=False)
        os.unlink(landed.temporary)
        _sync(os.path.dirname(path))

    def _walk(self, folder: str) -> Iterator[tuple[str, int]]:
        try:
            entries = list(os.scandir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path)
            elif entry.is_file(follow_symlinks=False) and not names.is_temporary(entry.name):
                yield entry.path[len(self._root) :], entry.stat(follow_symlinks=False).st_size


async def _in_thread(work: Callable[[], _Answer]) -> _Answer:
    try:
        return await asyncio.to_thread(work)
    except OSError as fault:
        raise StorageError(str(fault), kind=KINDS.get(fault.errno or 0, "transient")) from fault


def _size(path: str) -> int | None:
    with suppress(FileNotFoundError, NotADirectoryError):
        return os.stat(path, follow_symlinks=False).st_size
    return None


def _copy(source: str | Path, target: str, flags: int = 0) -> None:
    """Copy to a new file, flushed to disk; nothing is left of it after an error. `flags` are for opening the source."""
    write = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with open(os.open(source, os.O_RDONLY | flags), "rb", buffering=0) as reader:
        descriptor = os.open(target, write, 0o644)
        try:
            with open(descriptor, "wb", buffering=0) as sink:
                _pour(reader.fileno(), sink.fileno())
                os.fsync(sink.fileno())
        except BaseException:
            _forget(target)
            raise


def _pour(reader: int, sink: int) -> None:
    """Copy from where both stand to the end: in the kernel, as far as these file systems let it."""
    for way in (os.copy_file_range, _sent):
        try:
            while way(reader, sink, PIECE):
                pass
        except OSError as fault:
            if fault.errno not in _NOT_THIS_WAY:
                raise
    for block in blocks(reader):
        written = 0
        while written < len(block):
            written += os.write(sink, block[written:])


def _sent(reader: int, sink: int, count: int) -> int:
    return os.sendfile(sink, reader, None, count)


def _read(path: str, sums: Summing, *, uncached: bool) -> Summing:
    """Sum a file up; `uncached`: the kernel drops its pages first, so that the medium answers."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if uncached:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return summed(sums, descriptor)
    finally:
        os.close(descriptor)


def _forget(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)


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

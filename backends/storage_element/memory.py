"""A storage element that is a dictionary: for tests and for the simulated cluster."""

import asyncio
import hashlib
import zlib
from pathlib import Path

import msgspec

from backends.storage_element.base import Birth, Checksums, Landed, StorageError


class MemorySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`capacity`: bytes that fit, or None for no end."""

    capacity: int | None = None


class _File(msgspec.Struct, frozen=True):
    """A content, or what is known of one that was never made (simulated jobs)."""

    size: int
    checksums: Checksums
    content: bytes | None = None


class MemoryStorage:
    """Published and temporary files by name. Nothing survives the process."""

    def __init__(self, settings: MemorySettings) -> None:
        self.capacity = settings.capacity
        self.used = 0
        self._files: dict[str, _File] = {}
        self._temporary: dict[str, _File] = {}

    def pfn(self, lfn: str) -> str:
        parts = lfn.split("/")
        if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts[1:]):
            raise StorageError(f"{lfn!r} is no LFN: expected /name/name without . and ..", kind="permission")
        return f"memory:{lfn}"

    async def close(self) -> None:
        """Nothing is held."""

    def local_path(self, lfn: str) -> Path | None:
        self.pfn(lfn)
        return None

    async def size(self, lfn: str) -> int | None:
        found = self._files.get(self.pfn(lfn))
        return None if found is None else found.size

    async def checksums(self, lfn: str) -> Checksums:
        found = self._files.get(self.pfn(lfn))
        if found is None:
            raise StorageError(f"{lfn} is not there", kind="missing")
        return found.checksums if found.content is None else _sums(found.content)

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        temporary = self._name(lfn, fence)
        try:
            content = await asyncio.to_thread(source.read_bytes)
        except FileNotFoundError as fault:
            raise StorageError(str(fault), kind="missing") from fault
        except OSError as fault:
            raise StorageError(str(fault), kind="transient") from fault
        return self._land(temporary, _File(len(content), _sums(content), content), birth)

    def copy_from(
        self, other: "MemoryStorage", source: str, lfn: str, fence: str, birth: Birth | None = None
    ) -> Landed:
        """Take a published file of another one under the temporary name of (lfn, fence), as `receive` does."""
        found = other._files.get(other.pfn(source))
        if found is None:
            raise StorageError(f"{source} is not there", kind="missing")
        return self._land(self._name(lfn, fence), found, birth)

    def _land(self, temporary: str, file: _File, birth: Birth | None) -> Landed:
        if birth is not None and (file.size, file.checksums) != (birth.size, birth.checksums):
            raise StorageError(f"the source of {temporary} differs from {birth}", kind="integrity")
        self._forget(self._temporary, temporary)
        self._keep(self._temporary, temporary, file)
        return Landed(temporary=temporary, size=file.size, checksums=file.checksums)

    async def under_way(self, lfn: str, fence: str) -> int | None:
        found = self._temporary.get(self._name(lfn, fence))
        return None if found is None else found.size

    async def publish(self, landed: Landed, lfn: str) -> None:
        name = self.pfn(lfn)
        if landed.temporary not in self._temporary:
            raise StorageError(f"{landed.temporary} is not there", kind="missing")
        if not landed.temporary.startswith(f"{name}#"):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        if name in self._files:
            raise StorageError(f"{lfn} exists", kind="exists")
        self._files[name] = self._temporary.pop(landed.temporary)

    async def fetch(self, lfn: str, target: Path) -> Checksums:
        found = self._files.get(self.pfn(lfn))
        if found is None or found.content is None:
            raise StorageError(f"{lfn} is not there", kind="missing")
        await asyncio.to_thread(target.write_bytes, found.content)
        return found.checksums

    async def discard(self, lfn: str, fence: str) -> None:
        self._forget(self._temporary, self._name(lfn, fence))

    async def delete(self, lfn: str) -> bool:
        return self._forget(self._files, self.pfn(lfn))

    async def free(self) -> int | None:
        return None if self.capacity is None else max(0, self.capacity - self.used)

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        trimmed = prefix.rstrip("/")
        below = f"{self.pfn(trimmed)}/" if trimmed else "memory:/"
        cut = len("memory:")
        return sorted((name[cut:], found.size) for name, found in self._files.items() if name.startswith(below))

    def put(self, lfn: str, size: int, checksums: Checksums) -> None:
        """Publish a file of which only size and checksums exist: what a simulated job left."""
        name = self.pfn(lfn)
        if name in self._files:
            raise StorageError(f"{lfn} exists", kind="exists")
        self._keep(self._files, name, _File(size, checksums))

    def holds(self, lfn: str) -> bool:
        """Say whether a file is published."""
        return self.pfn(lfn) in self._files

    def _name(self, lfn: str, fence: str) -> str:
        if not fence or "/" in fence or "\0" in fence:
            raise StorageError(f"fence {fence!r}: expected a name without /", kind="permission")
        return f"{self.pfn(lfn)}#{fence}"

    def _keep(self, where: dict[str, _File], name: str, file: _File) -> None:
        if self.capacity is not None and self.used + file.size > self.capacity:
            room = f"{self.used} of {self.capacity} are used"
            raise StorageError(f"no room for {file.size} bytes of {name}: {room}", kind="space")
        where[name] = file
        self.used += file.size

    def _forget(self, where: dict[str, _File], name: str) -> bool:
        gone = where.pop(name, None)
        self.used -= 0 if gone is None else gone.size
        return gone is not None


def _sums(content: bytes) -> Checksums:
    return Checksums(adler32=f"{zlib.adler32(content):08x}", sha256=hashlib.sha256(content).hexdigest())

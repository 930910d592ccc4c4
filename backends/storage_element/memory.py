"""A storage element that is a dictionary: for tests and for the simulated cluster."""

import asyncio
import hashlib
import zlib
from pathlib import Path

import msgspec

from backends.storage_element.base import Checksums, Landed, StorageError


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
        self._capacity = settings.capacity
        self._files: dict[str, _File] = {}
        self._temporary: dict[str, _File] = {}

    def pfn(self, lfn: str) -> str:
        parts = lfn.split("/")
        if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts[1:]):
            raise StorageError(f"{lfn!r} is no LFN: expected /name/name without . and ..", kind="permission")
        return f"memory:{lfn}"

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

    async def receive(self, source: Path, lfn: str, fence: str) -> Landed:
        temporary = self._name(lfn, fence)
        try:
            content = await asyncio.to_thread(source.read_bytes)
        except FileNotFoundError as fault:
            raise StorageError(str(fault), kind="missing") from fault
        except OSError as fault:
            raise StorageError(str(fault), kind="transient") from fault
        self._temporary.pop(temporary, None)
        self._make_room(temporary, len(content))
        self._temporary[temporary] = _File(len(content), _sums(content), content)
        return Landed(temporary=temporary, size=len(content), checksums=_sums(content))

    async def publish(self, landed: Landed, lfn: str) -> None:
        name = self.pfn(lfn)
        if landed.temporary not in self._temporary:
            raise StorageError(f"{landed.temporary} is not there", kind="missing")
        if not landed.temporary.startswith(f"{name}#"):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        if name in self._files:
            raise StorageError(f"{lfn} exists", kind="exists")
        self._files[name] = self._temporary.pop(landed.temporary)

    async def discard(self, lfn: str, fence: str) -> None:
        self._temporary.pop(self._name(lfn, fence), None)

    async def delete(self, lfn: str) -> bool:
        return self._files.pop(self.pfn(lfn), None) is not None

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
        self._make_room(name, size)
        self._files[name] = _File(size, checksums)

    def _name(self, lfn: str, fence: str) -> str:
        if not fence or "/" in fence or "\0" in fence:
            raise StorageError(f"fence {fence!r}: expected a name without /", kind="permission")
        return f"{self.pfn(lfn)}#{fence}"

    def _make_room(self, name: str, size: int) -> None:
        if self._capacity is None:
            return
        used = sum(found.size for kept in (self._files, self._temporary) for found in kept.values())
        if used + size > self._capacity:
            raise StorageError(f"no room for {size} bytes of {name}: {used} of {self._capacity} are used", kind="space")


def _sums(content: bytes) -> Checksums:
    return Checksums(adler32=f"{zlib.adler32(content):08x}", sha256=hashlib.sha256(content).hexdigest())

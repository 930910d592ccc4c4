"""The contract of a storage element."""

from pathlib import Path
from typing import Protocol

import msgspec


class Checksums(msgspec.Struct, frozen=True):
    """Of the whole content: adler32 as 8 lower-case hexadecimal digits, sha256 as 64."""

    adler32: str
    sha256: str


class Birth(msgspec.Struct, frozen=True):
    """What a file was when it was written, as the catalogue knows it: size in bytes, and both checksums."""

    size: int
    checksums: Checksums


READ_BACK = "read back"
"""The method of verification that every element has: all bytes were read from the destination again."""


class Landed(msgspec.Struct, frozen=True, kw_only=True):
    """A copy that lies whole under its temporary name: size and a checksum were asked of the destination (TX-09).

    `method` says how: READ_BACK, or the server's own checksum ("server sha256", "server adler32"). What the destination was
    not asked for is as it was at the file's birth.
    """

    temporary: str
    size: int
    checksums: Checksums
    method: str = READ_BACK


class StorageError(Exception):
    """A storage element did not do what was asked.

    `kind` is one of "missing", "exists", "space", "permission", "integrity", "transient"; it decides what follows
    (design of transfers, error classes).
    """

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind

    @property
    def transient(self) -> bool:
        return self.kind == "transient"


class StorageElement(Protocol):
    """One storage element. Names are LFNs (absolute, "/store/..."); a PFN is where this element keeps an LFN."""

    def pfn(self, lfn: str) -> str:
        """Return the physical name. Raise StorageError("permission") for an LFN that would leave the element's root."""

    async def size(self, lfn: str) -> int | None:
        """Return the published file's size in bytes, or None if there is none."""

    async def checksums(self, lfn: str) -> Checksums:
        """Read the published file through and return its checksums. Raise StorageError("missing")."""

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        """Copy a local file to the temporary name of (lfn, fence) and return it when what lies there is as it was at `birth`.

        Nobody sums up the source for that; without a `birth` it is summed up first. Raise StorageError, "integrity" if the
        source has another size or the copy another content; nothing is left of it then. An earlier leftover of the same
        fence is replaced. Nothing is visible under `lfn` yet.
        """

    async def under_way(self, lfn: str, fence: str) -> int | None:
        """Return how many bytes of a copy have come to the temporary name of (lfn, fence) so far, None if that is not known."""

    async def publish(self, landed: Landed, lfn: str) -> None:
        """Rename to the final name, never over an existing file: then StorageError("exists")."""

    async def fetch(self, lfn: str, target: Path) -> Checksums:
        """Copy the published file to a local file that is not there yet and return the checksums of what was written.

        Raise StorageError("missing"); after any error nothing is left of `target`.
        """

    async def discard(self, lfn: str, fence: str) -> None:
        """Remove the temporary file of (lfn, fence) if there is one; never a published file."""

    async def delete(self, lfn: str) -> bool:
        """Delete the published file; False if it was not there, which counts as done."""

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        """Return (lfn, size) of every published file below `prefix`, sorted by name."""

    async def free(self) -> int | None:
        """Return how many bytes may still be written, or None if the element does not tell.

        Raise StorageError, "transient", if it does not answer: then nothing is tried that goes there.
        """

    async def close(self) -> None:
        """Let go of connections and child processes; safe to repeat. The next call opens them anew."""

    def local_path(self, lfn: str) -> Path | None:
        """Return where the published file can be opened on this machine, or None if it cannot."""

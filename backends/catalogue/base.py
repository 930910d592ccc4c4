"""The contract of a catalogue."""

from collections.abc import Sequence
from typing import Protocol

import msgspec


class FileRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A file as a catalogue knows it; sizes in bytes, `parents` are LFNs."""

    lfn: str
    dataset: str
    site: str
    size: int
    events: int
    adler32: str
    sha256: str
    parents: tuple[str, ...] = ()


class Booking(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one file: "new", "same" (was there with equal content) or "conflict" (was there, differs)."""

    lfn: str
    outcome: str
    block: str = ""
    reason: str = ""


class Catalogue(Protocol):
    """Datasets, their blocks and files. Booking is idempotent; a conflict never changes what stands (DBS-04)."""

    async def book(self, files: Sequence[FileRecord]) -> list[Booking]:
        """Book files in the open block of (dataset, site), opening one where there is none; one answer per file."""

    async def files(self, dataset: str) -> list[FileRecord]:
        """Return the files of a dataset, by LFN. An unknown dataset has none."""

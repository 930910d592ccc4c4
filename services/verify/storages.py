"""Compare what the books say with what lies in the storages."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from backends.storage_element.base import Checksums, StorageElement, StorageError
from services.verify.verification import Stray
from storage.engine import Connection
from storage.laws import Breach, copies
from storage.laws.copies import Copy

T = TypeVar("T")

PAGE = 500
"""Copies asked for at a time."""
ASKED_AT_ONCE = 16
"""Most questions to one storage at the same time."""
STORED, KNOWN = "stored", "known"
TEXTS = {
    STORED: "Each copy on record is in its storage as the catalogue describes it.",
    KNOWN: "Each published merged file is in the catalogue.",
}


class Reads(Protocol):
    """A store, or a reader of one."""

    async def read(self, query: Callable[[Connection], T]) -> T: ...


class Look:
    """One look at all storages; adds up what it saw."""

    def __init__(self, store: Reads, storages: Mapping[str, StorageElement], *, deep: bool) -> None:
        self._store = store
        self._storages = storages
        self._deep = deep
        self.copies = 0
        self.bytes = 0
        self.unseen: set[str] = set()
        self.strays: list[Stray] = []

    async def recorded(self) -> AsyncIterator[tuple[int, list[Breach]]]:
        """Yield, page by page, how many copies were looked at so far and what is wrong with those of the page."""
        after = 0
        while page := await self._store.read(lambda c, after=after: copies.copies(c, after, PAGE)):  # type: ignore[misc]
            after = page[-1].replica_id
            yield self.copies, await self._page(page)

    async def _page(self, page: Sequence[Copy]) -> list[Breach]:
        self.unseen.update(copy.site for copy in page if copy.site not in self._storages)
        seen = [copy for copy in page if copy.site in self._storages]
        turns = {site: asyncio.Semaphore(ASKED_AT_ONCE) for site in self._storages}

        async def ask(copy: Copy) -> str:
            async with turns[copy.site]:
                return await self._problem(copy)

        problems = dict(zip(seen, await asyncio.gather(*(ask(copy) for copy in seen)), strict=True))
        self.copies += len(seen)
        self.bytes += sum(copy.size for copy in seen)
        wrong = [copy for copy, problem in problems.items() if problem]
        kept = await self._store.read(lambda c: copies.still_on_record(c, wrong)) if wrong else []
        return [Breach(STORED, f"file {copy.file_id}", f"{copy.lfn} at {copy.site}: {problems[copy]}") for copy in kept]

    async def _problem(self, copy: Copy) -> str:
        """Return what is wrong with a copy, or ""."""
        storage = self._storages[copy.site]
        try:
            size = await storage.size(copy.lfn)
            if size is None:
                return "it is not there"
            if size != copy.size:
                return f"it has {size} bytes, the catalogue says {copy.size}"
            if self._deep and (found := await storage.checksums(copy.lfn)) != Checksums(copy.adler32, copy.sha256):
                return f"its adler32 is {found.adler32}, its sha256 {found.sha256}; the catalogue says otherwise"
        except StorageError as error:
            return f"it cannot be looked at: {error}"
        return ""

    async def published(self, site: str) -> list[Breach]:
        """Return the merged files that lie at a site and that the catalogue does not know; note the strays."""
        try:
            listed = await self._storages[site].list("/store")
        except StorageError as error:
            return [Breach(KNOWN, f"site {site}", f"its storage cannot be listed: {error}")]
        sizes = {lfn: size for lfn, size in listed if not lfn.startswith("/store/unmerged/")}
        found: list[Breach] = []
        names = list(sizes)
        for start in range(0, len(names), PAGE):
            part = names[start : start + PAGE]
            for lfn in await self._store.read(lambda c, part=part: copies.unknown(c, site, part)):  # type: ignore[misc]
                found += await self._judge(site, lfn, sizes[lfn])
        return found

    async def _judge(self, site: str, lfn: str, size: int) -> list[Breach]:
        """Say what an unknown file is: in the making, a stray, or a breach."""
        known, outcome = await self._store.read(lambda c: (copies.registered(c, lfn), copies.maker(c, lfn)))
        if known or outcome == "live":
            return []
        if outcome is None or outcome == "success":
            return [Breach(KNOWN, f"site {site}", f"{lfn} ({size} bytes) is published and not in the catalogue")]
        self.strays.append(Stray(site=site, lfn=lfn, size=size, outcome=outcome))
        return []

"""How far the copies under way have come, asked every 10 s of where they go to (TX-10).

Nobody is asked about a copy that is over before: small files cost nothing. The transfer stage has this looked at, and what is
found written down as the reason of each transfer; the metrics read it here.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from backends.storage_element.base import StorageElement
from domain.room import amount
from storage.transfers import Transfer
from supervisors import Clock

log = logging.getLogger(__name__)

LOOK_S = 10.0
"""Seconds between two looks at one copy."""
ANSWER_S = 5.0
"""An element gets so long to tell, in seconds."""


class Copy:
    """One copy under way. `done`: bytes that lie there, None if nobody knows; `rate`: bytes/s between the last two looks;
    `here`: what is fetched first from a storage that cannot be read in place. Times are monotonic, in seconds."""

    def __init__(self, task: Transfer, now: float) -> None:
        self.task = task
        self.here: Path | None = None
        self.done: int | None = None
        self.rate = 0.0
        self.looked_at = now
        self.grew_at = now

    def seen(self, done: int | None, now: float) -> None:
        """Note what a look has found."""
        if done is not None:
            before = self.done or 0
            self.rate = max(0, done - before) / max(now - self.looked_at, 1e-9)
            self.grew_at = now if done > before else self.grew_at
        self.done, self.looked_at = done, now

    def text(self) -> str:
        """Return it in words; "" if there is nothing to say."""
        if self.done is None:
            return ""
        if self.done >= self.task.size:
            return f"all {amount(self.task.size)} are there and being verified"
        idle_s = self.looked_at - self.grew_at
        pace = f"nothing new for {idle_s:.0f} s" if idle_s > 0 else f"{amount(round(self.rate))}/s"
        way = f"fetched from {self.task.source}: " if self.here else ""
        return f"{way}{amount(self.done)} of {amount(self.task.size)}, {pace}"


class Progress:
    """Of all copies under way."""

    def __init__(self) -> None:
        self._copies: dict[int, Copy] = {}

    def begun(self, task: Transfer, now: float) -> None:
        self._copies[task.id] = Copy(task, now)

    @contextmanager
    def fetching(self, task: Transfer, here: Path) -> Iterator[None]:
        """Look, meanwhile, at a local file of a task."""
        copy = self._copies[task.id]
        copy.here = here
        try:
            yield
        finally:
            copy.here, copy.done = None, None

    def ended(self, task: Transfer) -> None:
        self._copies.pop(task.id, None)

    def due(self, now: float) -> list[Copy]:
        """Return those that nobody has looked at for a while."""
        return [copy for copy in self._copies.values() if now - copy.looked_at >= LOOK_S]

    async def look(self, copies: Iterable[Copy], storages: Mapping[str, StorageElement], clock: Clock) -> None:
        """Ask how far copies have come. Whoever does not answer is asked again the next time."""

        async def one(copy: Copy) -> None:
            try:
                async with asyncio.timeout(ANSWER_S):
                    done = await _done(copy, storages)
            except Exception as error:
                log.info("nobody knows how far transfer %d is: %r", copy.task.id, error)
                done = None
            copy.seen(done, clock.monotonic())

        await asyncio.gather(*map(one, copies))

    def sums(self) -> dict[str, tuple[int, float]]:
        """Return bytes that have come so far, and bytes/s, of the copies under way to each destination."""
        found: dict[str, tuple[int, float]] = {}
        for copy in self._copies.values():
            done, rate = found.get(copy.task.destination, (0, 0.0))
            found[copy.task.destination] = (done + (copy.done or 0), rate + copy.rate)
        return found


async def _done(copy: Copy, storages: Mapping[str, StorageElement]) -> int | None:
    if copy.here is not None:
        return (await asyncio.to_thread(copy.here.stat)).st_size
    return await storages[copy.task.destination].under_way(copy.task.lfn, fence(copy.task))


def fence(task: Transfer) -> str:
    """Return what the temporary name of a try carries."""
    return f"{task.id}.{task.fence}"

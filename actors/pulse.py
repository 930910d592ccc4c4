"""Feels the pulse of what runs at one target: a job without progress is told to people (PA-325). Part of the tracker.

Looks are spread: all running jobs are looked at four times within `tracker.stalled_s`, at most LOOK of them in one call.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from actors.world import World
from backends.batch.watching import Watching
from domain.job import JobState
from domain.stalling import Stalls
from storage import alerts
from storage.store import Tx

LOOK = 500
"""Most jobs of one look: each is a small file that the login node reads."""
LOOKS = 4
NAMED = 5
"""Jobs that the alert names."""
CODE = "jobs-stalled"

Live = Mapping[str, tuple[int, JobState]]
Write = Callable[[Callable[[Tx], object]], Awaitable[Any]]


class Pulse:
    """Of one target. `write` writes a unit for the tracker. Looks at nothing where running jobs cannot be seen."""

    def __init__(self, world: World, target: str, write: Write) -> None:
        self._world = world
        self._target = target
        self._batch = world.batches[target]
        self._write = write
        self._stalls = Stalls()
        self._told = True  # an alert of an earlier life may be open
        self._next = 0.0

    async def feel(self, live: Live) -> None:
        """Look at the running ones among all that live here, if it is time to. Raises BatchError, TimeoutError."""
        now, limits = self._world.clock.monotonic(), self._world.settings.tracker
        running = {token for token, (_, state) in live.items() if state is JobState.RUNNING}
        if now < self._next or not isinstance(self._batch, Watching):
            return
        self._next = now + limits.stalled_s / LOOKS / max(1, math.ceil(len(running) / LOOK))
        tokens = self._stalls.due(running, LOOK)
        if tokens:
            async with asyncio.timeout(limits.call_deadline_s):
                shown = await self._batch.watch(tokens)
            self._stalls.forget(token for token in tokens if token not in shown)
            for token, glimpse in shown.items():
                self._stalls.see(token, glimpse.heartbeat, now)
        await self._tell(live, now)

    async def _tell(self, live: Live, now: float) -> None:
        found = self._stalls.stalled(now - self._world.settings.tracker.stalled_s)
        some = "; ".join(
            f"job {live[one.token][0]} for {(now - one.since) / 3600:.1f} h at step {one.step or 'none, no heartbeat'}"
            for one in found[:NAMED]
        )
        text = f"{len(found)} running jobs make no progress: {some}"

        def book(tx: Tx) -> None:
            if found:
                alerts.raise_alert(tx, "warning", CODE, self._target, text)
            else:
                alerts.close_alert(tx, CODE, self._target)

        if found or self._told:
            await self._write(book)
        self._told = bool(found)

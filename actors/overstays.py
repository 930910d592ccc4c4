"""Takes back from one target what it holds, or keeps for too long without progress (PA-314, PA-315). Part of the tracker.

An attempt that is given up is asked for first, and ended at the target before its job may go elsewhere.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from actors.world import World
from backends.batch.base import BatchState, JobStatus, Poll
from domain.exit_codes import HELD, HELD_FOR_GOOD, MEMORY, PENDING_TOO_LONG, RUNNING_TOO_LONG, WALL_TIME
from domain.held import HeldAction, judge
from domain.job import JobState
from domain.jobspec import BATCH_MARGIN_S
from domain.spec import Stuck
from domain.stuck import Patience, Standing, overdue, patience, shortest
from storage import adjustments, alerts, attempts, workflows
from storage.adjustments import Adjustment
from storage.attempts import Failure, Waiting
from storage.store import Tx
from storage.workflows import Workflow

HELD_CODES: Mapping[HeldAction, int] = {
    HeldAction.MORE_MEMORY: MEMORY,
    HeldAction.MORE_TIME: WALL_TIME,
    HeldAction.ELSEWHERE: HELD,
    HeldAction.FAIL: HELD_FOR_GOOD,
}
STUCK_CODES: Mapping[JobState, int] = {JobState.PENDING: PENDING_TOO_LONG, JobState.RUNNING: RUNNING_TOO_LONG}

Live = dict[str, tuple[int, JobState]]
Write = Callable[[Callable[[Tx], object]], Awaitable[Any]]
Book = Callable[[Iterable[JobStatus], Live], Awaitable[None]]


class Overstays:
    """Of one target. `write` writes a unit for the tracker, `book` books what the batch system says."""

    def __init__(self, world: World, target: str, write: Write, book: Book) -> None:
        self._world = world
        self._target = target
        self._settings = world.targets()[target][1]
        self._batch = world.batches[target]
        self._write = write
        self._book = book
        self._behind = math.inf
        self._told: dict[str, str | None] = {"jobs-held": None, "unconfirmed": None}
        """Text of each open alert; None: an earlier life may have left one."""

    async def held(self, poll: Poll, live: Live) -> None:
        """Do what the rules say about jobs that a complete listing shows as held."""
        found = {live[one.token][0]: one for one in poll.statuses if one.state is BatchState.HELD and one.token in live}
        given = self._world.settings.errors
        before = await self._world.store.read(lambda c: adjustments.load(c, found)) if found else {}
        own = {owner: before.get(owner, Adjustment()) for owner in found}
        actions = {
            owner: judge(one.reason, given.held, own[owner].releases, given.releases) for owner, one in found.items()
        }
        again = {
            owner: own[owner]._replace(releases=own[owner].releases + 1, reason=f"released: {found[owner].reason}")
            for owner, action in actions.items()
            if action is HeldAction.RELEASE
        }
        if again:
            async with self._deadline():
                await self._batch.release([found[owner].token for owner in again])
            await self._write(lambda tx: adjustments.put(tx, again))
        listed = [owner for owner, action in actions.items() if action is HeldAction.LIST]
        some = "; ".join(f"job {owner}: {found[owner].reason}" for owner in listed[:5])
        await self._tell("jobs-held", f"{len(listed)} jobs are held, a person decides: {some}" if listed else "")
        over = {
            found[owner].token: Failure(owner, HELD_CODES[action], f"held by {self._target}: {found[owner].reason}")
            for owner, action in actions.items()
            if action in HELD_CODES
        }
        await self._give_up(over, "held")

    async def overdue(self) -> None:
        """Give up what has waited or run for too long, and tell of submissions that nobody confirms."""
        now = self._now()
        known = await self._world.store.read(workflows.load)
        limits = self._world.settings.tracker
        own = Stuck(pending_s=self._settings.pending_s, running_s=self._settings.running_s)
        default = patience(Patience(limits.pending_s, limits.running_s), own)
        over: dict[str, Failure] = {}
        for state, code in STUCK_CODES.items():
            for one in await self._candidates(state, known, default, now):
                over[one.token] = Failure(
                    one.job, code, f"{state} at {self._target} for {(now - one.since) / 3600:.1f} h"
                )
        await self._give_up(over, "stuck")
        before = now - limits.unconfirmed_s
        late = await self._world.store.read(lambda c: attempts.long_at(c, self._target, JobState.SUBMITTING, before))
        text = f"{len(late)} submissions have no answer, the oldest of job {late[0].job}" if late else ""
        await self._tell("unconfirmed", text)

    async def _candidates(
        self, state: JobState, known: Mapping[int, Workflow], default: Patience, now: float
    ) -> list[Waiting]:
        """Return the jobs that are overdue in a state."""
        least = [shortest(flow.spec, default, BATCH_MARGIN_S) for flow in known.values()]
        if not least:
            return []
        shortest_s = min(one.pending_s if state is JobState.PENDING else one.running_s for one in least)
        found = await self._world.store.read(lambda c: attempts.long_at(c, self._target, state, now - shortest_s))
        own = await self._world.store.read(lambda c: adjustments.load(c, [one.job for one in found])) if found else {}
        chosen = []
        for one in found:
            spec = known[one.workflow_id].spec
            wall_s = BATCH_MARGIN_S + (own.get(one.job, Adjustment()).wall_s or spec.resources.wall_s)
            limit = patience(default, spec.stuck.get(one.type))
            if overdue(Standing(one.state, one.since, wall_s), limit, now):
                chosen.append(one)
        return chosen

    async def _give_up(self, over: Mapping[str, Failure], reason: str) -> None:
        """End attempts here for good, so that their jobs may go elsewhere; one that has ended meanwhile is booked instead."""
        if not over:
            return
        async with self._deadline():
            found = await self._batch.find(list(over))
        ended = {token: one for token, one in found.items() if one.state is BatchState.ENDED}
        if ended:
            live = await self._world.store.read(lambda c: attempts.live_at(c, self._target, list(ended)))
            await self._book(ended.values(), live)
        left = [token for token in over if token not in ended]
        if left:
            async with self._deadline():
                await self._batch.cancel(left)
            failures = [over[token] for token in left]
            await self._write(lambda tx: attempts.fail(tx, failures, outcome="lost", reason=reason))

    async def _tell(self, code: str, text: str) -> None:
        """Keep an alert about this target open as long as there is a text for it."""

        def book(tx: Tx) -> None:
            if text:
                alerts.raise_alert(tx, "warning", code, self._target, text)
            else:
                alerts.close_alert(tx, code, self._target)

        if text != self._told[code]:
            await self._write(book)
        self._told[code] = text

    def _now(self) -> float:
        """Return UTC epoch seconds by which nothing ever looks older than it is, however the wall clock was set (REL-08)."""
        clock = self._world.clock
        self._behind = min(self._behind, clock.time() - clock.monotonic())
        return clock.monotonic() + self._behind

    def _deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self._world.settings.tracker.call_deadline_s)

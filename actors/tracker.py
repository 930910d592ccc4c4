"""Tracker: follows the attempts at one target with one query per interval, and ends those that should not run.

An end needs positive evidence; absence has its own state (PA-312, PA-313).
Woken by nothing but its interval: a batch system is asked once in poll_s, whatever happens.
Writes: JobsStarted, JobsEnded, JobsLost, JobsFailed.
Settings: the target's poll_s; tracker.grace_s, tracker.lost_s, tracker.call_deadline_s; cleanup.job_directories.
"""

import asyncio

from actors.stage import Stage
from actors.world import World
from backends.batch.base import BatchError, BatchState, JobStatus, Poll
from domain.exit_codes import ABSENT
from domain.job import JobState
from storage import alerts, attempts
from storage.attempts import Failure, Seen
from storage.store import Tx

BATCH = 500
"""Most directories removed in one go."""
COMPARE_S = 10.0
"""Time between two comparisons of a complete listing with all live attempts."""

Live = dict[str, tuple[int, JobState]]


class Tracker(Stage):
    def __init__(self, world: World, target: str) -> None:
        super().__init__(world)
        self.target = target
        self.settings = world.targets()[target][1]
        self.batch = world.batches[target]
        self.cursor = ""
        self._open = False
        self._silent = False
        self._compare_at = 0.0
        self._absent: dict[str, float] = {}

    @property
    def sweep_s(self) -> float:
        return self.settings.poll_s

    async def work(self) -> bool:
        try:
            async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
                if not self._open:
                    await self.batch.open()
                    self._open = True
                poll = await self.batch.poll(self.cursor)
        except (BatchError, TimeoutError) as error:
            await self._no_answer(error)
            return False
        if self._silent:
            self._silent = False
            await self.write(lambda tx: alerts.close_alert(tx, "target-silent", self.target))
        await self._observe(poll)
        self.cursor = poll.cursor
        try:
            async with asyncio.timeout(self.world.settings.tracker.call_deadline_s):
                await self._tidy()
        except (BatchError, TimeoutError) as error:
            self.log.warning("target %s: %s", self.target, error)
        return False

    async def _no_answer(self, error: Exception) -> None:
        self._silent = True
        text = f"target {self.target} does not say how its jobs are: {error or 'no answer in time'}"
        self.log.warning("%s", text)
        await self.write(lambda tx: alerts.raise_alert(tx, "error", "target-silent", self.target, text))

    async def _observe(self, poll: Poll) -> None:
        told = None if self._judges_absence(poll) else [status.token for status in poll.statuses]
        if told == []:
            return
        live = await self.store.read(lambda c: attempts.live_at(c, self.target, told))
        running: dict[int, Seen] = {}
        ended: dict[int, Seen] = {}
        for status in poll.statuses:
            if status.token not in live:
                continue
            owner, state = live[status.token]
            if status.state is BatchState.ENDED and status.evidence is not None:
                ended[owner] = _seen(status)
            elif status.state is BatchState.RUNNING and state is not JobState.RUNNING:
                running[owner] = _seen(status)
        gone = self._judge_absence(poll, live) if told is None else []
        if not (running or ended or gone):
            return

        def book(tx: Tx) -> None:
            attempts.started(tx, running)
            attempts.ended(tx, ended)
            attempts.lost(tx, gone, f"absent from {self.target} without proof of an end")
            failures = [Failure(owner, ABSENT, f"absent from {self.target} without proof of an end") for owner in gone]
            attempts.fail(tx, failures, outcome="lost", reason="lost")

        await self.write(book)

    def _judges_absence(self, poll: Poll) -> bool:
        """Whether this is a listing of everything, and time to compare it with all that should be there."""
        now = self.clock.monotonic()
        if not poll.complete or now < self._compare_at:
            return False
        self._compare_at = now + COMPARE_S
        return True

    def _judge_absence(self, poll: Poll, live: Live) -> list[int]:
        """Return the jobs that have been missing from complete listings for too long."""
        now = self.clock.monotonic()
        listed = {status.token for status in poll.statuses}
        missing = {
            token for token, (_, state) in live.items() if state in (JobState.PENDING, JobState.RUNNING)
        } - listed
        self._absent = {token: self._absent.get(token, now) for token in missing}
        limits = self.world.settings.tracker
        return [
            live[token][0] for token, since in self._absent.items() if now - since >= limits.grace_s + limits.lost_s
        ]

    async def _tidy(self) -> None:
        """Remove what closed attempts left; ask again and again for the end of those that were killed until it has come."""
        left = await self.store.read(lambda c: attempts.left_behind(c, self.target, BATCH))
        alive: list[str] = []
        if left.killed:
            found = await self.batch.find(left.killed)
            alive = [token for token in left.killed if token in found and found[token].state is not BatchState.ENDED]
        if alive:
            await self.batch.cancel(alive)
        await self._remove([token for token in (*left.killed, *left.ended) if token not in set(alive)])

    async def _remove(self, tokens: list[str]) -> None:
        if tokens:
            if self.world.settings.cleanup.job_directories:
                await self.batch.clean(tokens)
            await self.write(lambda tx: attempts.cleaned(tx, tokens))


def _seen(status: JobStatus) -> Seen:
    code = 128 + status.signal if status.exit_code is None and status.signal is not None else status.exit_code
    return Seen(status.token, status.batch_id, status.node, code, status.started_at, status.ended_at)

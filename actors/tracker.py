"""Tracker: follows the attempts at one target with one query per interval, and ends those that should not run.

An end needs positive evidence; absence has its own state (PA-312, PA-313). An attempt that a complete listing lacks for
`grace_s` is asked for by its token; if there is no proof of anything its job is `lost`, and comes back by any sign of life.
After `lost_s` more the attempt is fenced at the target, so that it cannot begin any more, and closed. What is held, or
waits or runs for too long, is taken back (actors/overstays.py); what runs without progress is told (actors/pulse.py).
Woken by nothing but its interval: a batch system is asked once in poll_s, whatever happens.
Writes: JobsStarted, JobsEnded, JobsLost, JobsSubmitted (of a lost one that waits again), JobsFailed.
Settings: the target's poll_s; tracker.grace_s, lost_s, compare_s, call_deadline_s, pending_s, running_s, stalled_s;
cleanup.job_directories, directory_mb.
"""

import asyncio
import logging
from collections.abc import Iterable

from actors.extra import participants
from actors.overstays import Overstays
from actors.pulse import Pulse
from actors.stage import Stage
from actors.world import World
from backends.batch.base import BatchError, BatchState, JobStatus, Poll
from backends.batch.trimming import Trimming
from domain import events as e
from domain.exit_codes import ABSENT
from domain.job import JobState
from storage import alerts, attempts, breakers, sites, told
from storage.attempts import Failure, Seen
from storage.store import Tx
from storage.told import Told

BATCH = 500
"""Most directories removed, and most absent attempts asked for, in one go."""

SLOW_S, REST = 2.0, 4.0
"""A status query that takes longer than this, in seconds, is followed by a pause of so many times its duration: a slow
target is busy with our questions for a fifth of the time at most."""

SILENT = "status-silent"
"""Code of the alert while a target does not say how its jobs are."""
FOLLOWED = (JobState.PENDING, JobState.RUNNING, JobState.LOST)
ALIVE = (BatchState.PENDING, BatchState.RUNNING, BatchState.HELD)

Live = dict[str, tuple[int, JobState]]


class Tracker(Stage):
    emits = (e.JobsSubmitted, e.JobsStarted, e.JobsEnded, e.JobsLost, e.JobsFailed)

    def __init__(self, world: World, target: str) -> None:
        super().__init__(world)
        self.target = target
        self.site, self.settings = world.targets()[target]
        self.batch = world.batches[target]
        self.cursor = ""
        self._participants = participants(world.settings)
        self._open = False
        self._silent = True  # an alert of an earlier life may be open
        self._said = ""
        self._heard_at = world.clock.monotonic()
        self._compare_at = 0.0
        self._rests_until = 0.0
        self._absent: dict[str, float] = {}
        self._trimmed: set[str] = set()
        self._overstays = Overstays(world, target, self.write, self._book)
        self._pulse = Pulse(world, target, self.write)

    @property
    def sweep_s(self) -> float:
        return self.settings.poll_s

    async def work(self) -> bool:
        if self.clock.monotonic() < self._rests_until:
            return False
        comparing = self.clock.monotonic() >= self._compare_at
        try:
            async with self._deadline():
                if not self._open:
                    await self.batch.open()
                    self._open = True
                poll = await self._ask("" if comparing else self.cursor)
            self._heard_at = self.clock.monotonic()
            if self._silent:
                self._silent, self._said = False, ""
                await self.write(self._back)
                self.hint("queue")
            live = await self._observe(poll)
            self.cursor = poll.cursor
            if comparing and poll.complete:
                await self._compare(poll, live)
                await self._overstays.held(poll, live)
                await self._overstays.overdue()
                await self._pulse.feel(live)
                self._compare_at = self.clock.monotonic() + self.world.settings.tracker.compare_s
        except (BatchError, TimeoutError) as error:
            await self._no_answer(error)
            return False
        try:
            async with self._deadline():
                await self._tidy()
        except (BatchError, TimeoutError) as error:
            self.log.warning("target %s: %s", self.target, error)
        return False

    async def _ask(self, cursor: str) -> Poll:
        began = self.clock.monotonic()
        try:
            return await self.batch.poll(cursor)
        finally:
            now = self.clock.monotonic()
            if now - began > SLOW_S:
                self._rests_until = now + REST * (now - began)

    def _deadline(self) -> asyncio.Timeout:
        return asyncio.timeout(self.world.settings.tracker.call_deadline_s)

    async def _no_answer(self, error: Exception) -> None:
        self._silent = True
        text = f"target {self.target} does not say how its jobs are: {error or 'no answer in time'}"
        self.log.log(logging.DEBUG if text == self._said else logging.WARNING, "%s", text)
        self._said = text
        blind = self.clock.monotonic() - self._heard_at > max(self.world.settings.tracker.silent_s, 3 * self.sweep_s)

        def tell(tx: Tx) -> None:
            alerts.raise_alert(tx, "error", SILENT, self.target, text)
            if blind:
                alerts.raise_alert(tx, "error", sites.BLIND, self.target, f"{text}; it gets no more of them")

        await self.write(tell)

    def _back(self, tx: Tx) -> None:
        """It answers again: whoever keeps jobs from it for want of answers may try."""
        for code in (SILENT, sites.BLIND):
            alerts.close_alert(tx, code, self.target)
        breakers.sign_of_life(tx, self.target)

    async def _observe(self, poll: Poll) -> Live:
        """Book what a listing says; return the live attempts that it may be about."""
        named = None if poll.complete else [status.token for status in poll.statuses]
        if named == []:
            return {}
        live = await self.store.read(lambda c: attempts.live_at(c, self.target, named))
        await self._book(poll.statuses, live)
        return live

    async def _book(self, statuses: Iterable[JobStatus], live: Live) -> None:
        running: dict[int, Seen] = {}
        ended: dict[int, Seen] = {}
        back: list[int] = []
        reasons: dict[int, str] = {}
        for status in statuses:
            if status.token not in live:
                continue
            owner, state = live[status.token]
            if status.state is BatchState.ENDED and status.evidence is not None:
                ended[owner] = _seen(status)
            elif status.state is BatchState.RUNNING and state is not JobState.RUNNING:
                running[owner] = _seen(status)
            elif status.state in (BatchState.PENDING, BatchState.HELD):
                if state is JobState.LOST:
                    back.append(owner)
                if status.reason:
                    reasons[owner] = status.reason
        if running or ended or back or reasons:
            await self.write_together(told.told_all, Told(back, reasons, running, ended))

    async def _compare(self, poll: Poll, live: Live) -> None:
        """Look for what a listing of everything lacks, and for what it has and should not."""
        now = self.clock.monotonic()
        seen = {status.token for status in poll.statuses if status.state is not BatchState.UNKNOWN}
        missing = {token for token, (_, state) in live.items() if state in FOLLOWED} - seen
        self._absent = {token: self._absent.get(token, now) for token in missing}
        limits = self.world.settings.tracker
        due = [token for token, since in self._absent.items() if now - since >= limits.grace_s]
        for first in range(0, len(due), BATCH):
            await self._investigate(due[first : first + BATCH], live)
        alive = [status.token for status in poll.statuses if status.state in ALIVE and status.token not in live]
        if alive:
            stray = await self.store.read(lambda c: attempts.closed(c, alive))
            if stray:
                self.log.warning("%d closed attempts are alive at %s: they are ended", len(stray), self.target)
                async with self._deadline():
                    await self.batch.cancel(stray)

    async def _investigate(self, tokens: list[str], live: Live) -> None:
        """Ask for each of these by its token; what is still without proof is lost, and fenced when its time is up."""
        async with self._deadline():
            found = await self.batch.find(tokens)
        known = {token: status for token, status in found.items() if status.state is not BatchState.UNKNOWN}
        await self._book(known.values(), live)
        absent = [token for token in tokens if token not in known]
        limits = self.world.settings.tracker
        until = self.clock.monotonic() - limits.grace_s - limits.lost_s
        over = [token for token in absent if self._absent[token] <= until]
        if over:
            async with self._deadline():
                await self.batch.cancel(over)
        text = f"absent from {self.target} without proof of an end"

        def book(tx: Tx) -> None:
            attempts.lost(tx, [live[token][0] for token in absent if live[token][1] is not JobState.LOST], text)
            failures = [Failure(live[token][0], ABSENT, text) for token in over]
            attempts.fail(tx, failures, outcome="lost", reason="lost")

        if absent:
            await self.write(book)

    async def _tidy(self) -> None:
        """Remove what closed attempts left; ask again and again for the end of those that were killed until it has come."""
        left = await self.store.read(lambda c: attempts.left_behind(c, self.target, BATCH, self._participants))
        alive: set[str] = set()
        if left.killed:
            found = await self.batch.find(left.killed)
            going = [token for token in left.killed if token in found and found[token].state is not BatchState.ENDED]
            if going:
                await self.batch.cancel(going)
            alive = {token for token in going if found[token].state in ALIVE}  # nobody waits for the unknown
        await self._remove([token for token in (*left.killed, *left.ended) if token not in alive])
        await self._trim(await self.store.read(lambda c: attempts.held_back(c, self.target, BATCH, self._participants)))

    async def _remove(self, tokens: list[str]) -> None:
        if tokens:
            if self.world.settings.cleanup.job_directories:
                await self.batch.clean(tokens)
            else:
                await self._trim(tokens)
            await self.write_together(told.cleaned_all, tokens)

    async def _trim(self, tokens: list[str]) -> None:
        """Empty directories that have to stay and take too much; the next attempt has one of its own, and waits for none."""
        fresh = [token for token in tokens if token not in self._trimmed]
        if fresh and isinstance(self.batch, Trimming):
            most = self.world.settings.cleanup.directory_mb * 1_000_000
            for token, freed in (await self.batch.trim(fresh, most)).items():
                self.log.info("the directory of attempt %s is emptied of %.0f MB", token, freed / 1e6)
        self._trimmed = set(tokens)


def _seen(status: JobStatus) -> Seen:
    code = 128 + status.signal if status.exit_code is None and status.signal is not None else status.exit_code
    said = status.reason[:100] or None
    return Seen(status.token, status.batch_id, status.node, code, status.started_at, status.ended_at, said)

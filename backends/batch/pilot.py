"""Runs jobs in pilots: processes that a second batch system starts, and that take one job after another.

For jobs that are short beside what the batch system needs to start one, and for late binding. Agent and pilots speak through a
directory on the site's shared file system (runtime/shared.py), so that no pilot needs a way to the agent. To the agent it is a
batch system like any other: `submit` puts jobs there and sees to it that there are pilots enough.
"""

import asyncio
import logging
import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from backends.batch.asking import Traffic, together
from backends.batch.base import (
    BatchError,
    BatchState,
    BatchSystem,
    Capabilities,
    JobDescription,
    JobStatus,
    Poll,
    Verdict,
)
from backends.batch.pilot_desk import Desk, DeskHere, DeskThere
from backends.batch.pilot_fleet import Fleet
from backends.batch.pilot_view import Followed, PilotView
from backends.batch.scheduler import SiteSettings
from backends.batch.watching import Glimpse, seen
from backends.channel.hosts import Hosts
from backends.channel.local import LOCAL
from runtime.pilot import MARGIN_S
from runtime.shared import LEASE_S, SIGN_S
from supervisors import Clock

Positive = Annotated[int, Meta(ge=1)]
NotNegative = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(gt=0)]

DEAD_S = 2 * LEASE_S
"""A pilot that nobody knows anything of is dead when its last sign of life is so old, in seconds: it gives up at half of it."""

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_log = logging.getLogger(__name__)


class PilotSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where pilots work and who starts them: `over` is the table of another kind of batch target, whose jobs the pilots are.

    `directory` lies at `host` on a file system that its login and worker nodes share. A pilot has `slots` cores and `memory_mb`
    (0: as much as its jobs ask for, not counted), lives at most `wall_s` seconds and ends after `idle_s` without a job; at
    most `max_pilots` are asked for at once. `python` runs the desk on the login node, `node_python` the pilots.
    """

    host: str = LOCAL
    directory: Annotated[str, Meta(extra={"path": True})]
    over: dict[str, Any]
    slots: Positive = 1
    memory_mb: NotNegative = 0
    wall_s: Seconds = 86_400.0
    idle_s: Seconds = 60.0
    max_pilots: Positive = 10
    python: str = "python3"
    node_python: str = "python3"


class PilotBatch:
    """The batch system made of pilots. `inner` makes the batch system of a table such as `over`."""

    capabilities = Capabilities(max_submit=500, survives_agent=True, lists_all=False)

    def __init__(
        self,
        settings: PilotSettings,
        *,
        runtime: Path,
        hosts: Hosts,
        clock: Clock,
        inner: Callable[[Mapping[str, Any]], BatchSystem],
    ) -> None:
        self._settings = settings
        self._desk = _desk(settings, hosts, runtime, clock)
        self._view = PilotView()
        self._fleet = Fleet(settings, inner(settings.over), clock)
        self._asking = asyncio.Lock()
        self._clock = clock
        self._signs_at = 0.0
        self._told = self._fleet.waits

    async def open(self) -> None:
        await self._desk.open()
        await self._fleet.open(self._desk.root, self._desk.runtime)

    async def close(self) -> None:
        await self._fleet.close()
        await self._desk.close()

    def traffic(self) -> Traffic:
        return together(self._desk, self._fleet)

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        if len(jobs) > self.capabilities.max_submit:
            text = f"{len(jobs)} jobs in one submission, at most {self.capabilities.max_submit} are taken"
            raise BatchError(text, transient=False)
        for job in jobs:
            if not _TOKEN.fullmatch(job.token):
                raise BatchError(f"token {job.token!r}: expected letters, digits, . _ -", transient=False)
        async with self._asking:
            await self._look()
            fit = {job.token: self._unfit(job) for job in jobs}
            fresh = [job for job in jobs if not fit[job.token] and job.token not in self._view.attempts]
            if fresh:
                await self._drop(fresh)
            await self._enough_pilots()
        return [self._verdict(job.token, fit[job.token]) for job in jobs]

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        async with self._asking:
            await self._look()
            absent = [token for token in tokens if token not in self._view.attempts]
            if absent:  # a submission may be on its way still: from now on it would come too late
                await self._desk.ask("void", tokens=absent)
                await self._look()
            known = self._view.attempts
            return {token: self._status(known[token]) for token in tokens if token in known}

    async def poll(self, cursor: str) -> Poll:
        async with self._asking:
            await self._fleet.look()
            await self._look()
            await self._bury_dead()
            await self._enough_pilots()
            if self._told != self._fleet.waits:
                self._told = self._fleet.waits
                self._view.tell_waiting()
            changed = self._view.since(cursor)
            complete = changed is None
            statuses = [
                self._status(attempt) for attempt in (self._view.attempts.values() if changed is None else changed)
            ]
            return Poll(statuses=statuses, cursor=self._view.cursor, complete=complete)

    async def cancel(self, tokens: Sequence[str]) -> None:
        async with self._asking:
            await self._look()
            live = [self._view.attempts[token] for token in tokens if token in self._view.attempts]
            waiting = [attempt.token for attempt in live if attempt.state is BatchState.PENDING]
            running = {attempt.token: attempt.pilot for attempt in live if attempt.state is BatchState.RUNNING}
            if waiting or running:
                await self._desk.ask("cancel", waiting=waiting, running=running)
                await self._look()

    async def release(self, tokens: Sequence[str]) -> None:
        """Nothing is ever held here."""

    async def fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        async with self._asking:
            known = [self._view.attempts[token] for token in dict.fromkeys(tokens) if token in self._view.attempts]
            lines = [attempt for attempt in known if attempt.inline]
            files = [attempt for attempt in known if attempt.file]
            if not (lines or files):
                return {}
            places = [(attempt.writer, attempt.start, attempt.length) for attempt in lines]
            named = [(attempt.batch, attempt.token) for attempt in files]
            answer = await self._desk.ask("read", places=places, files=named)
            reports = {a.token: _report(text) for a, text in zip(lines, answer["places"], strict=True)}
            found = zip(files, answer["files"], strict=True)
            return reports | {attempt.token: text.encode() for attempt, text in found if text is not None}

    async def watch(self, tokens: Sequence[str], tail: int = 0) -> dict[str, Glimpse]:
        async with self._asking:
            known = [self._view.attempts[token] for token in dict.fromkeys(tokens) if token in self._view.attempts]
            run = [(a.batch, a.token) for a in known if a.state is BatchState.RUNNING]
            if not run:
                return {}
            answer = await self._desk.ask("watch", attempts=run, tail=tail)
            return {token: seen(*shown) for (_, token), shown in zip(run, answer["shown"], strict=True)}

    async def trim(self, tokens: Sequence[str], most_bytes: int) -> dict[str, int]:
        async with self._asking:
            known = [self._view.attempts[token] for token in dict.fromkeys(tokens) if token in self._view.attempts]
            ended = [(a.batch, a.token) for a in known if a.state is BatchState.ENDED]
            answer = await self._desk.ask("trim", attempts=ended, most=most_bytes) if ended else {"freed": []}
            return {token: freed for (_, token), freed in zip(ended, answer["freed"], strict=True) if freed}

    async def clean(self, tokens: Sequence[str]) -> None:
        async with self._asking:
            known = [self._view.attempts[token] for token in dict.fromkeys(tokens) if token in self._view.attempts]
            ended = [(a.batch, a.token) for a in known if a.state is BatchState.ENDED]
            if ended:
                await self._desk.ask("clean", attempts=ended)
                batches, writers = self._view.clean([token for _, token in ended])
                if batches or writers:
                    await self._desk.ask("clean", attempts=[], batches=batches, writers=writers)

    # the shared directory

    async def _look(self) -> None:
        more = True
        while more:
            signs = self._clock.monotonic() >= self._signs_at
            known = list(self._view.batches)
            answer = await self._desk.ask("look", seen=self._view.seen, known=known, signs=signs)
            if signs:
                self._signs_at = self._clock.monotonic() + SIGN_S
            self._view.take(answer)
            more = answer["more"]

    async def _drop(self, jobs: Sequence[JobDescription]) -> None:
        specs = [msgspec.json.encode(await self._spec(job)) for job in jobs]
        described = [
            (job.token, job.cores, len(spec), job.memory_mb if self._settings.memory_mb else 0, job.wall_s)
            for job, spec in zip(jobs, specs, strict=True)
        ]
        text = b"\n".join([msgspec.json.encode({"jobs": described}), *specs]).decode()
        await self._desk.ask("drop", batch=secrets.token_hex(8), text=text)
        await self._look()

    async def _spec(self, job: JobDescription) -> dict[str, Any]:
        if not job.spec.get("sandbox"):
            return job.spec
        return {**job.spec, "sandbox": await self._desk.bring(job.spec["sandbox"])}

    def _unfit(self, job: JobDescription) -> str:
        """Return why no pilot could ever run a job, or nothing."""
        settings = self._settings
        if job.cores > settings.slots:
            return f"{job.cores} cores, a pilot has {settings.slots}"
        if settings.memory_mb and job.memory_mb > settings.memory_mb:
            return f"{job.memory_mb} MB, a pilot has {settings.memory_mb}"
        if job.wall_s + MARGIN_S > settings.wall_s:
            return f"{job.wall_s} s and {MARGIN_S:g} s to bring its output out, a pilot lives {settings.wall_s:g} s"
        return ""

    def _verdict(self, token: str, unfit: str) -> Verdict:
        attempt = self._view.attempts.get(token)
        if unfit or attempt is None:
            reason = f"the job asks for {unfit}" if unfit else "the token was asked for before it was submitted"
            return Verdict(token=token, accepted=False, reason=reason)
        return Verdict(token=token, accepted=True, batch_id=f"{attempt.batch}.{attempt.place}")

    def _status(self, attempt: Followed) -> JobStatus:
        return attempt.status(self._fleet.waits)

    # the pilots

    async def _enough_pilots(self) -> None:
        """Ask for as many pilots as the jobs can use; what goes wrong with that is for the next poll."""
        wanted = min(self._settings.max_pilots, math.ceil(self._view.cores / self._settings.slots))
        try:
            await self._fleet.enough(wanted)
        except BatchError as fault:
            _log.warning("no pilots can be had: %s", fault)

    async def _bury_dead(self) -> None:
        """End the attempts of pilots that are gone: the batch system says so, or they have been silent for DEAD_S."""
        dead = {name for name in self._fleet.ended if name not in self._view.left}
        dead |= {
            name
            for name, age in self._view.signs.items()
            if age > DEAD_S and name not in self._fleet.alive and name not in self._view.left
        }
        if dead:
            await self._desk.ask("judge", dead=sorted(dead), tokens=self._view.held_by(dead))
            await self._look()
            self._view.left |= dead
        await self._fleet.bury()


def _desk(settings: PilotSettings, hosts: Hosts, runtime: Path, clock: Clock) -> Desk:
    channel = hosts.channel(settings.host)
    if channel.host == LOCAL:
        return DeskHere(settings.directory, runtime)
    there = SiteSettings(
        host=settings.host, directory=settings.directory, python=settings.python, node_python=settings.node_python
    )
    return DeskThere(there, channel, runtime, clock)


def _report(line: str) -> bytes:
    return bytes(msgspec.json.decode(line, type=dict[str, msgspec.Raw])["report"])

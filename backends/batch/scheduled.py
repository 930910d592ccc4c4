"""Runs jobs on a batch system that is reached by commands: Slurm, HTCondor, Grid Engine, here or over SSH.

Every call is one round trip to the clerk on the login node (runtime/clerk.py), whatever the number of jobs. What makes a
token run at most once is its directory on the site's shared file system (runtime/site_spool.py), not the batch system:
a job that starts takes the one right to run its token, and a question for a token that was never handed over takes that
right away for good. So an answer may be lost, and a batch system may forget, repeat or reuse what it likes.
"""

import asyncio
import logging
import re
import secrets
import shlex
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from backends.batch.asking import Traffic
from backends.batch.base import (
    BatchError,
    BatchState,
    Capabilities,
    JobDescription,
    JobStatus,
    Poll,
    Verdict,
)
from backends.batch.queue_view import ARRAY, QueueView, sentinel, status_of
from backends.batch.scheduler import Limits, Listed, Parcel, Said, Scheduler, Sent, SiteSettings
from backends.batch.site import Site, said
from backends.batch.watching import Glimpse, seen
from backends.channel.hosts import Hosts
from runtime.scratch import VARIABLE
from supervisors import Clock

log = logging.getLogger(__name__)

OVERLAP_S = 120.0
"""Sentinels this much older than the newest known are read again: a rename can become visible late."""

RELEARN_S = 60.0
"""Limits older than this are asked for anew before a job is refused by them: they may have been raised."""

_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._]{0,99}")

SCRIPT = """#!/bin/sh
root={root}
parcel={parcel}
exec >>"$root/parcels/$parcel.log" 2>&1 || exit 0
{prologue}
{scratch}
exec {python} -I -S {runtime} slot "$root" "$parcel" {index} {id}
"""


class ScheduledBatch:
    """A batch target behind a scheduler's commands."""

    capabilities = Capabilities(max_submit=1000, survives_agent=True, lists_all=True)

    def __init__(
        self, settings: SiteSettings, scheduler: Scheduler, *, hosts: Hosts, runtime: Path, clock: Clock
    ) -> None:
        self._settings = settings
        self._scheduler = scheduler
        self._site = Site(settings, hosts.channel(settings.host), runtime, clock, scheduler.unset)
        self._view = QueueView(self._listed, clock.monotonic, settings.evidence_s)
        self._limits = Limits()
        self._clock = clock
        self._learnt = 0.0
        self._since = 0.0
        self._asking = asyncio.Lock()

    async def open(self) -> None:
        answer = await self._site.ask("open", self._scheduler.probe())
        self._limits = self._scheduler.learn(said(answer)).within(self._settings)
        self._learnt = self._clock.monotonic()

    async def close(self) -> None:
        """Nothing to let go of: the channel belongs to the host."""

    def traffic(self) -> Traffic:
        return self._site.traffic()

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        if len(jobs) > self.capabilities.max_submit:
            text = f"{len(jobs)} jobs in one submission, at most {self.capabilities.max_submit} are taken"
            raise BatchError(text, transient=False)
        for job in jobs:
            if not _TOKEN.fullmatch(job.token):
                raise BatchError(f"token {job.token!r}: expected letters, digits, . and _", transient=False)
        await self._site.open()
        if self._too_much(jobs) and self._clock.monotonic() - self._learnt >= RELEARN_S:
            await self.open()
        verdicts = {verdict.token: verdict for verdict in self._too_much(jobs)}
        parcels = list(self._parcels([job for job in jobs if job.token not in verdicts]))
        if parcels:
            orders = [await self._order(parcel) for parcel in parcels]
            answer = await self._site.ask("submit", parcels=orders)
            for parcel, done in zip(parcels, answer["parcels"], strict=True):
                self._view.parcels[parcel.name] = [job.token for job in parcel.jobs]
                verdicts |= {verdict.token: verdict for verdict in self._verdicts(parcel, done)}
        return [verdicts[job.token] for job in jobs]

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        if not tokens:
            return {}
        asked = list(dict.fromkeys(tokens))
        answer = await self._site.ask("find", [self._scheduler.listing()], tokens=asked)
        records = answer["tokens"]
        listed = self._by_place(self._scheduler.records(said(answer)[0]))
        found: dict[str, JobStatus] = {}
        absent: list[str] = []
        doubtful: list[str] = []
        for token in asked:
            record = records[token]
            status = self._known(token, record, listed)
            sent = self._sent(record)
            if status is not None:
                found[token] = status
            elif record["run"] == VOID:
                continue  # it never will run
            elif sent is None or sent.doubt:
                doubtful.append(token)
            elif not sent.reason:
                absent.append(token)
        absent += await self._fence(doubtful)
        return found | await self._explain_absence(absent, records)

    async def poll(self, cursor: str) -> Poll:
        async with self._asking:
            commands = [self._scheduler.listing()]
            history = self._history(self._view.questions())
            if history is not None:
                commands.append(history)
            answer = await self._site.ask("poll", commands, since=self._since)
            listing, *rest = said(answer)
            records = list(self._scheduler.records(listing))
            await self._learn_parcels(self._view.strange(records))
            for text in rest:
                self._see_history(text)
            self._view.take(records, answer["ends"])
            self._since = max(self._since, answer["latest"] - OVERLAP_S)
            return self._view.since(cursor)

    async def cancel(self, tokens: Sequence[str]) -> None:
        if not tokens:
            return
        answer = await self._site.ask("cancel", [self._scheduler.listing()], tokens=list(set(tokens)))
        listed = await self._listed_of(said(answer)[0], tokens)
        if ids := [job.id for job in listed if job.state is not BatchState.ENDED]:
            done = said(await self._site.ask("run", [self._scheduler.cancellation(ids)]))[0]
            if done.code:
                raise BatchError(f"{len(ids)} jobs could not be cancelled: {done.text}", transient=True)

    async def release(self, tokens: Sequence[str]) -> None:
        if not tokens:
            return
        listing = said(await self._site.ask("run", [self._scheduler.listing()]))[0]
        if ids := [job.id for job in await self._listed_of(listing, tokens) if job.state is BatchState.HELD]:
            done = said(await self._site.ask("run", [self._scheduler.release(ids)]))[0]
            if done.code:
                raise BatchError(f"{len(ids)} held jobs could not be released: {done.text}", transient=True)

    async def _listed_of(self, listing: Said, tokens: Sequence[str]) -> list[Listed]:
        """Return the jobs of these tokens in a listing."""
        wanted, records = set(tokens), list(self._scheduler.records(listing))
        await self._learn_parcels(self._view.strange(records))
        found = (self._listed(record) for record in records)
        return [job for job in found if job is not None and self._view.token(job) in wanted]

    async def fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        rest = list(tokens)
        while rest:
            answer = await self._site.ask("fetch", tokens=rest)
            found |= {token: text.encode() for token, text in answer["reports"].items()}
            rest = answer["rest"]
        return found

    async def watch(self, tokens: Sequence[str], tail: int = 0) -> dict[str, Glimpse]:
        if not tokens:
            return {}
        answer = await self._site.ask("watch", tokens=list(tokens), tail=tail)
        return {token: seen(*shown) for token, shown in answer["shown"].items()}

    async def trim(self, tokens: Sequence[str], most_bytes: int) -> dict[str, int]:
        if not tokens:
            return {}
        freed: dict[str, int] = (await self._site.ask("trim", tokens=list(tokens), most=most_bytes))["freed"]
        return freed

    async def clean(self, tokens: Sequence[str]) -> None:
        if tokens:
            over = [token for token in tokens if not self._view.live(token)]
            await self._site.ask("clean", tokens=list(tokens), over=over)
            self._view.forget(over)

    # submission

    def _too_much(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        """Refuse the jobs that ask for more than the target gives, as far as it is known."""
        refusals = ((job.token, self._limits.refusal(job)) for job in jobs)
        return [Verdict(token=token, accepted=False, reason=text) for token, text in refusals if text]

    def _parcels(self, jobs: Sequence[JobDescription]) -> Iterable[Parcel]:
        """Put jobs of equal needs together, as many as the target takes in one array."""
        most = min(self._settings.array_max, self._limits.array or self._settings.array_max)
        for _, alike in groupby(sorted(jobs, key=_needs), key=_needs):
            group = tuple(alike)
            for first in range(0, len(group), most):
                part = group[first : first + most]
                name = part[0].token if len(part) == 1 else ARRAY + secrets.token_hex(12)
                yield Parcel(name, part, self._site.mark + name, f"{self._site.root}/parcels/{name}.sh")

    async def _order(self, parcel: Parcel) -> dict[str, Any]:
        script = SCRIPT.format(
            root=shlex.quote(self._site.root),
            parcel=parcel.name,
            prologue="\n".join(self._settings.prologue),
            scratch=f'export {VARIABLE}="{self._settings.scratch}"' if self._settings.scratch else "",
            python=shlex.quote(self._settings.node_python),
            runtime=shlex.quote(self._site.runtime),
            index=self._scheduler.slot_index,
            id=self._scheduler.slot_id,
        )
        argv, stdin = self._scheduler.submission(parcel, script)
        jobs = [(job.token, msgspec.json.encode(await self._spec(job)).decode()) for job in parcel.jobs]
        return {"name": parcel.name, "argv": argv, "stdin": stdin, "script": script, "jobs": jobs}

    async def _spec(self, job: JobDescription) -> dict[str, Any]:
        sandbox = job.spec.get("sandbox")
        return {**job.spec, "sandbox": await self._site.bring(sandbox)} if sandbox else job.spec

    def _verdicts(self, parcel: Parcel, done: Mapping[str, Any]) -> Iterable[Verdict]:
        if done.get("late"):
            for job in parcel.jobs:
                yield Verdict(token=job.token, accepted=False, reason="not handed over in time", transient=True)
            return
        sent = self._scheduler.sent(msgspec.convert(done["sent"], Said)) if "sent" in done else None
        for index, job in enumerate(parcel.jobs):
            known = done["known"].get(job.token)
            answer, place = (self._sent(known), known.get("index", 0)) if known is not None else (sent, index)
            if answer is None or answer.doubt:
                reason = answer.reason if answer is not None else "its earlier submission has no recorded answer"
                raise BatchError(f"{job.token}: {reason}", transient=True)
            if answer.reason:
                yield Verdict(token=job.token, accepted=False, reason=answer.reason, transient=answer.transient)
            else:
                name = known["parcel"] if known is not None else parcel.name
                yield Verdict(token=job.token, accepted=True, batch_id=self._task(answer.id, name, place))

    def _task(self, sent_id: str, name: str, index: int) -> str:
        return self._scheduler.task_id(sent_id, index, array=name.startswith(ARRAY))

    def _sent(self, record: Mapping[str, Any]) -> Sent | None:
        """Return what the batch system answered when a token was handed over, None if no answer is on record."""
        return self._scheduler.sent(msgspec.convert(record["sent"], Said)) if record.get("sent") else None

    # what is known of single tokens

    def _listed(self, record: str) -> Listed | None:
        listed = self._scheduler.listed(record)
        return self._ours(listed) if listed is not None else None

    def _recorded(self, answer: Said) -> Iterable[Listed]:
        """Return the ended jobs of this target that the accounting knows; none when it does not answer, for it is
        only one of the witnesses."""
        try:
            found = [self._ours(listed) for listed in self._scheduler.recorded(answer)]
        except BatchError as fault:
            log.warning("%s: %s", self._settings.host, fault)
            return []
        return [listed for listed in found if listed is not None and listed.state is BatchState.ENDED]

    def _ours(self, listed: Listed) -> Listed | None:
        if not listed.name.startswith(self._site.mark):
            return None
        return msgspec.structs.replace(listed, name=listed.name.removeprefix(self._site.mark))

    def _history(self, names: Iterable[str]) -> list[str] | None:
        labels = [self._site.mark + name for name in dict.fromkeys(names)]
        return self._scheduler.history(labels) if labels else None

    def _by_place(self, records: Iterable[str]) -> dict[tuple[str, int], Listed]:
        found = (self._listed(record) for record in records)
        return {(listed.name, listed.index): listed for listed in found if listed is not None}

    def _known(
        self, token: str, record: Mapping[str, Any], listed: Mapping[tuple[str, int], Listed]
    ) -> JobStatus | None:
        """Return what there is proof of: a sentinel before the queue (PA-312)."""
        if record["parcel"] is None:
            return None
        sent = self._sent(record)
        batch_id = self._task(sent.id, record["parcel"], record["index"]) if sent is not None and sent.id else ""
        if record["end"] is not None:
            ended = sentinel(record["end"])
            return msgspec.structs.replace(ended, batch_id=ended.batch_id or batch_id)
        if record["run"] == VOID:
            return None
        there = listed.get((record["parcel"], record["index"]))
        if there is None:
            return None
        status = status_of(token, there)
        if status.state is BatchState.ENDED and token in self._view.status:
            return self._view.status[token]  # believed only when the sentinel had its time
        return status

    async def _explain_absence(self, tokens: Sequence[str], records: Mapping[str, Any]) -> dict[str, JobStatus]:
        """Ask the accounting for tokens that were taken and are not in the queue; else their state is UNKNOWN."""
        found = {}
        for token in tokens:
            sent = self._sent(records[token])
            batch_id = (
                self._task(sent.id, records[token]["parcel"], records[token]["index"]) if sent is not None else ""
            )
            found[token] = JobStatus(
                token=token, state=BatchState.UNKNOWN, batch_id=batch_id, reason="taken, and not in the queue"
            )
        history = self._history(records[token]["parcel"] for token in tokens)
        if history is not None:
            place = {(records[token]["parcel"], records[token]["index"]): token for token in tokens}
            for listed in self._recorded(said(await self._site.ask("run", [history]))[0]):
                if token := place.get((listed.name, listed.index), ""):
                    found[token] = status_of(token, listed)
        return found

    async def _fence(self, tokens: Sequence[str]) -> list[str]:
        """Fence tokens whose submission has no answer and which the queue does not show; return those that had begun.

        That one began is no proof of life: it may have vanished since.
        """
        if not tokens:
            return []
        running = (await self._site.ask("fence", tokens=list(tokens)))["running"]
        return [token for token, who in running.items() if who != VOID]

    # what is known of all

    async def _learn_parcels(self, names: Iterable[str]) -> None:
        """Ask for the tokens of arrays that this agent did not submit in this life."""
        wanted = sorted(names)
        if wanted:
            self._view.parcels.update((await self._site.ask("parcels", names=wanted))["parcels"])

    def _see_history(self, text: Said) -> None:
        for listed in self._recorded(text):
            if token := self._view.token(listed):
                self._view.see(token, listed)


VOID = "void"
"""As in runtime/site_spool.py: who runs a token that must never run."""


def _needs(job: JobDescription) -> tuple[int, int, int, tuple[str, ...], int, str, str]:
    return job.cores, job.memory_mb, job.wall_s, job.avoid_nodes, job.gpus, job.architecture, job.kind

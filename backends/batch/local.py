"""Runs jobs on this machine, under a node daemon that outlives the agent.

Agent and daemon speak through a spool directory (runtime/spool.py): a submission is one file that appears in the inbox
whole or not at all, and what became of its jobs stands in a journal that only grows. So neither side needs the other to
be alive, and what one of them knows can be read again after a crash.
"""

import asyncio
import errno
import fcntl
import os
import re
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from backends.batch.base import (
    BatchError,
    BatchState,
    Capabilities,
    JobDescription,
    JobStatus,
    Poll,
    Verdict,
)
from backends.batch.local_journal import LocalJournal
from backends.batch.watching import Glimpse, seen
from runtime.attempt import remove
from runtime.glimpse import glimpse
from runtime.spool import Spool
from runtime.trimming import trim

KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
_Answer = TypeVar("_Answer")
_TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class LocalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where and how jobs run on this machine: `directory` holds all that they need and leave, `slots` cores are used,
    `python` runs the runtime, and the daemon ends after `idle_s` seconds without work. Jobs see `environment`, and of
    the agent's own only what KEPT names: its secrets are none of theirs."""

    directory: Annotated[str, Meta(extra={"path": True})]
    slots: int = 2
    python: str = "python3"
    environment: dict[str, str] = {}
    idle_s: float = 60.0


class LocalBatch:
    """The batch system of this machine. `runtime` is the zipapp that runtime/build.py made."""

    capabilities = Capabilities(max_submit=500, survives_agent=True, lists_all=False)

    def __init__(self, settings: LocalSettings, *, runtime: Path) -> None:
        self._settings = settings
        self._runtime = runtime
        self._where = Spool(os.path.abspath(settings.directory))
        self._journal = LocalJournal(self._where)
        self._inbox: dict[str, list[str]] = {}
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        await self._do(self._prepare)
        await self._ensure_node()

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown)

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        if len(jobs) > self.capabilities.max_submit:
            raise BatchError(
                f"{len(jobs)} jobs in one submission, at most {self.capabilities.max_submit} are taken", transient=False
            )
        verdicts = await self._do(lambda: self._submit(jobs))
        await self._wake()
        return verdicts

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        return await self._do(lambda: self._find(tokens))

    async def poll(self, cursor: str) -> Poll:
        answer = await self._do(lambda: self._poll(cursor))
        if self._journal.live or self._inbox:
            await self._ensure_node()
        return answer

    async def cancel(self, tokens: Sequence[str]) -> None:
        if await self._do(lambda: self._cancel(tokens)):
            await self._wake()

    async def release(self, tokens: Sequence[str]) -> None:
        """Nothing is ever held here."""

    async def fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        return await self._do(lambda: self._fetch(tokens))

    async def watch(self, tokens: Sequence[str], tail: int = 0) -> dict[str, Glimpse]:
        return await self._do(lambda: self._watch(tokens, tail))

    async def trim(self, tokens: Sequence[str], most_bytes: int) -> dict[str, int]:
        return await self._do(lambda: self._trim(tokens, most_bytes))

    async def clean(self, tokens: Sequence[str]) -> None:
        await self._do(lambda: self._clean(tokens))

    # what the one thread does; it runs one thing after another, also when a caller gave up waiting

    async def _do(self, work: Callable[[], _Answer]) -> _Answer:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-batch")
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except OSError as fault:
            raise BatchError(f"{self._where.root}: {fault}", transient=True) from fault

    def _prepare(self) -> None:
        try:
            self._where.create()
        except OSError as fault:
            raise BatchError(f"{self._where.root} cannot be used: {fault}", transient=False) from fault
        for name in os.listdir(self._where.drafts):
            os.unlink(os.path.join(self._where.drafts, name))

    def _submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        for job in jobs:
            if not _TOKEN.fullmatch(job.token):
                raise BatchError(f"token {job.token!r}: expected letters, digits, . _ -", transient=False)
        known = self._find([job.token for job in jobs])
        fresh = [job for job in jobs if job.token not in known]
        batch = secrets.token_hex(8)
        if fresh:
            self._drop(f"{batch}.jobs", self._submission(fresh))
            self._inbox[f"{batch}.jobs"] = [job.token for job in fresh]
        places = {job.token: f"{batch}.{place}" for place, job in enumerate(fresh)}
        return [
            Verdict(token=job.token, accepted=True, batch_id=places.get(job.token) or known[job.token].batch_id)
            for job in jobs
        ]

    def _submission(self, jobs: Sequence[JobDescription]) -> bytes:
        specs = [self._spec(job) for job in jobs]
        header = {
            "slots": self._settings.slots,
            "idle_s": self._settings.idle_s,
            "jobs": [(job.token, job.cores, len(spec)) for job, spec in zip(jobs, specs, strict=True)],
        }
        return b"\n".join([msgspec.json.encode(header), *specs])

    def _spec(self, job: JobDescription) -> bytes:
        environment = {**self._settings.environment, **job.spec.get("environment", {})}
        return msgspec.json.encode({**job.spec, "environment": environment})

    def _drop(self, name: str, content: bytes) -> None:
        draft = os.path.join(self._where.drafts, name)
        with open(draft, "wb") as sink:
            sink.write(content)
            sink.flush()
            os.fsync(sink.fileno())
        os.rename(draft, os.path.join(self._where.inbox, name))

    def _find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        waiting = self._look_into_inbox()  # before the journal: what leaves the inbox stands in the journal already
        self._journal.read()
        found = {}
        for token in tokens:
            if (attempt := self._journal.attempts.get(token)) is not None:
                found[token] = attempt.status()
            elif token in waiting:
                found[token] = waiting[token]
        return found

    def _look_into_inbox(self) -> dict[str, JobStatus]:
        names = {name for name in os.listdir(self._where.inbox) if name.endswith(".jobs")}
        for name in names - self._inbox.keys():
            try:
                with open(os.path.join(self._where.inbox, name), "rb") as source:
                    header = msgspec.json.decode(source.readline())
            except FileNotFoundError:
                continue
            self._inbox[name] = [job[0] for job in header["jobs"]]
        for name in self._inbox.keys() - names:
            del self._inbox[name]
        return {
            token: JobStatus(token=token, state=BatchState.PENDING, batch_id=f"{name[:-5]}.{place}")
            for name, tokens in self._inbox.items()
            for place, token in enumerate(tokens)
        }

    def _poll(self, cursor: str) -> Poll:
        before = self._journal.cursor
        if self._inbox:
            self._look_into_inbox()
        if cursor:
            changed = [attempt.status() for attempt in self._journal.read()]
            if cursor != before:
                changed = [attempt.status() for attempt in self._journal.since(cursor)]
        else:
            waiting = self._look_into_inbox()
            self._journal.read()
            known = {token: attempt.status() for token, attempt in self._journal.attempts.items()}
            changed = list({**waiting, **known}.values())
        return Poll(statuses=changed, cursor=self._journal.cursor, complete=not cursor)

    def _cancel(self, tokens: Sequence[str]) -> bool:
        known = self._find(tokens)
        live = [token for token in tokens if token in known and known[token].state is not BatchState.ENDED]
        if live:
            self._drop(f"{secrets.token_hex(8)}.cancel", msgspec.json.encode(live))
        return bool(live)

    def _fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        self._journal.read()
        reports = {}
        for token in tokens:
            attempt = self._journal.attempts.get(token)
            raw = self._journal.report(attempt) if attempt is not None else None
            if raw is not None:
                reports[token] = raw
        return reports

    def _watch(self, tokens: Sequence[str], tail: int) -> dict[str, Glimpse]:
        self._journal.read()
        known = [self._journal.attempts[token] for token in tokens if token in self._journal.attempts]
        shown = {}
        for attempt in known:
            if attempt.state is BatchState.RUNNING:
                shown[attempt.token] = seen(*glimpse(self._where.job(attempt.batch, attempt.token), tail))
        return shown

    def _trim(self, tokens: Sequence[str], most: int) -> dict[str, int]:
        self._journal.read()
        known = [self._journal.attempts[token] for token in dict.fromkeys(tokens) if token in self._journal.attempts]
        ended = [attempt for attempt in known if attempt.state is BatchState.ENDED]
        freed = {attempt.token: trim(self._where.job(attempt.batch, attempt.token), most) for attempt in ended}
        return {token: count for token, count in freed.items() if count}

    def _clean(self, tokens: Sequence[str]) -> None:
        self._journal.read()
        known = [self._journal.attempts[token] for token in dict.fromkeys(tokens) if token in self._journal.attempts]
        ended = [attempt for attempt in known if attempt.state is BatchState.ENDED]
        for attempt in ended:
            remove(self._where.job(attempt.batch, attempt.token))
            self._where.release(attempt.batch, attempt.token)
        for batch in {attempt.batch for attempt in ended}:
            try:
                os.rmdir(self._where.batch_directory(batch))
            except OSError as fault:
                if fault.errno not in (errno.ENOTEMPTY, errno.ENOENT):
                    raise
        self._journal.clean(ended)

    # the daemon

    async def _wake(self) -> None:
        if not await self._do(self._nudge):
            await self._ensure_node()

    def _nudge(self) -> bool:
        """Tell the daemon to look into its inbox; False if there is none."""
        if not self._node_lives():
            return False
        try:
            descriptor = os.open(self._where.wake, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:
            return False
        try:
            os.write(descriptor, b"!")
        except BlockingIOError:
            pass  # full of earlier ones
        finally:
            os.close(descriptor)
        return True

    def _node_lives(self) -> bool:
        try:
            descriptor = os.open(self._where.lock, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    async def _ensure_node(self) -> None:
        if await self._do(self._node_lives):
            return
        settings = self._settings
        command = [settings.python, "-I", "-S", str(self._runtime), "node", "--dir", self._where.root]
        command += ["--slots", str(settings.slots), "--idle", str(settings.idle_s)]
        try:
            node = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={name: os.environ[name] for name in os.environ if name in KEPT or name.startswith("LC_")},
            )
        except OSError as fault:
            raise BatchError(f"{settings.python}: {fault}", transient=False) from fault
        _, said = await node.communicate()
        if node.returncode:
            text = said.decode(errors="replace").strip()[-2000:]
            raise BatchError(f"{' '.join(command)} ended with {node.returncode}: {text}", transient=True)

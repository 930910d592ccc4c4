"""What an agent knows of the jobs in a directory that it shares with pilots: who stands where, and what has changed since when."""

import secrets
from collections.abc import Iterable
from typing import Any

import msgspec

from backends.batch.base import BatchState, Evidence, JobStatus
from runtime import shared, spool


class _Line(msgspec.Struct):
    event: str
    token: str = ""
    tokens: list[str] = []
    who: str = ""
    node: str = ""
    at: float | None = None
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    file: bool = False
    report: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Line).decode


class Followed(msgspec.Struct, kw_only=True):
    """One attempt; `writer`, `start` and `length` say where the line of its end stands in the journals."""

    token: str
    batch: str
    place: int
    cores: int
    state: BatchState = BatchState.PENDING
    pilot: str = ""
    node: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    inline: bool = False
    file: bool = False
    writer: str = ""
    start: int = 0
    length: int = 0

    def status(self, waits: str = "") -> JobStatus:
        """Return it in the words of the contract; `waits` says why one waits."""
        over = self.state is BatchState.ENDED
        reported = self.inline or self.file
        return JobStatus(
            token=self.token,
            state=self.state,
            batch_id=f"{self.batch}.{self.place}",
            exit_code=self.code,
            signal=self.signal,
            node=self.node,
            evidence=(Evidence.REPORT if reported else Evidence.SENTINEL) if over else None,
            reason=waits if self.state is BatchState.PENDING else self.reason,
            started_at=self.started_at,
            ended_at=self.ended_at,
        )


class PilotView:
    """All attempts of one shared directory that have not been cleaned."""

    def __init__(self) -> None:
        self.attempts: dict[str, Followed] = {}
        self.seen: dict[str, int] = {}
        self.batches: dict[str, list[str]] = {}
        self.signs: dict[str, float] = {}
        self.left: set[str] = set()
        self.cores = 0
        """Asked for by the attempts that have not ended."""
        self._epoch = secrets.token_hex(6)
        self._now = 0
        self._changed: dict[str, int] = {}
        self._cleaned: dict[str, set[str]] = {}
        self._mentions: dict[str, set[str]] = {}
        self._home: dict[str, str] = {}

    @property
    def cursor(self) -> str:
        """How much of what changed was told: "epoch:number"; it means nothing to another view."""
        return f"{self._epoch}:{self._now}"

    def take(self, answer: Any) -> None:
        """Take in the answer to a look."""
        for batch, jobs in answer["batches"].items():
            self._accept(batch, jobs)
        for batch in answer["gone"]:
            self._forget(batch)
        for writer, text in answer["said"].items():
            self._read(writer, text.encode())
        if answer["signs"] is not None:
            self.signs = answer["signs"]

    def since(self, cursor: str) -> list[Followed] | None:
        """Return the attempts that changed after a cursor, or None if it is not one of this view."""
        epoch, _, number = cursor.partition(":")
        if epoch != self._epoch or not number.isdigit():
            return None
        changed: list[Followed] = []
        for token in reversed(self._changed):  # the last changed first
            if self._changed[token] <= int(number):
                break
            changed.append(self.attempts[token])
        return changed[::-1]

    def tell_waiting(self) -> None:
        """Let those that wait count as changed: the reason for it is another one."""
        for attempt in self.attempts.values():
            if attempt.state is BatchState.PENDING:
                self._touch(attempt)

    def live(self) -> Iterable[Followed]:
        """The attempts that have not ended."""
        return (attempt for attempt in self.attempts.values() if attempt.state is not BatchState.ENDED)

    def held_by(self, pilots: set[str]) -> list[str]:
        """The tokens that these pilots are known, or may be found, to have claimed and not ended."""
        return [attempt.token for attempt in self.live() if not attempt.pilot or attempt.pilot in pilots]

    def clean(self, tokens: Iterable[str]) -> tuple[list[str], list[str]]:
        """Forget ended attempts; return the submissions and the journals that nobody needs any more."""
        touched = set()
        for token in tokens:
            attempt = self.attempts.pop(token)
            self._changed.pop(token, None)
            self._cleaned.setdefault(attempt.batch, set()).add(token)
            touched.add(attempt.batch)
        done = [batch for batch in touched if len(self._cleaned[batch]) == len(self.batches.get(batch, ()))]
        for batch in done:
            self._forget(batch)
        writers = [writer for writer in self.left if not self._mentions.get(writer)]
        for writer in writers:
            self.left.discard(writer)
            self._mentions.pop(writer, None)
        return done, writers

    def _accept(self, batch: str, jobs: list[tuple[str, int] | None]) -> None:
        if batch in self.batches:
            return
        self.batches[batch] = [job[0] for job in jobs if job is not None]
        for place, job in enumerate(jobs):
            if job is not None and job[0] not in self.attempts:
                token, cores = job
                attempt = Followed(token=token, batch=batch, place=place, cores=cores)
                self.attempts[token] = attempt
                self._home[token] = batch
                self.cores += cores
                self._touch(attempt)

    def _forget(self, batch: str) -> None:
        """A submission is gone: all its attempts were cleaned."""
        for token in self.batches.pop(batch, []):
            self._home.pop(token, None)
            attempt = self.attempts.get(token)
            if attempt is not None and attempt.batch == batch:
                self._end(attempt, _Line(event=spool.ENDED, reason="cleaned"))
                del self.attempts[token]
                self._changed.pop(token, None)
        self._cleaned.pop(batch, None)
        for mentioned in self._mentions.values():
            mentioned.discard(batch)

    def _touch(self, attempt: Followed) -> None:
        self._now += 1
        self._changed.pop(attempt.token, None)
        self._changed[attempt.token] = self._now

    def _read(self, writer: str, raw: bytes) -> None:
        offset = self.seen.get(writer, 0)
        self.seen[writer] = offset + len(raw)
        for text in raw.split(b"\n"):
            if text:
                try:
                    line = _decode(text)
                except msgspec.MsgspecError:
                    line = None  # torn by a crash
                if line is not None:
                    self._take(writer, line, offset, len(text))
            offset += len(text) + 1

    def _take(self, writer: str, line: _Line, start: int, length: int) -> None:
        for token in line.tokens or [line.token]:
            if token in self._home:
                self._mentions.setdefault(writer, set()).add(self._home[token])
        if line.event == shared.LEFT:
            self.left.add(writer)
        elif line.event == spool.CLEANED:
            self.clean([token for token in line.tokens if token in self.attempts])
        attempt = self.attempts.get(line.token)
        if attempt is None or attempt.state is BatchState.ENDED:
            return
        if line.event == spool.STARTED:
            attempt.state, attempt.started_at, attempt.node = BatchState.RUNNING, line.at, line.node
            attempt.pilot = line.who.partition("/")[0]
            self._touch(attempt)
        elif line.event == spool.ENDED:
            attempt.writer, attempt.start, attempt.length = writer, start, length
            self._end(attempt, line)
            self._touch(attempt)

    def _end(self, attempt: Followed, line: _Line) -> None:
        if attempt.state is not BatchState.ENDED:
            self.cores -= attempt.cores
        attempt.state, attempt.ended_at = BatchState.ENDED, line.at
        attempt.code, attempt.signal, attempt.reason = line.code, line.signal, line.reason
        attempt.inline, attempt.file = bool(line.report), line.file

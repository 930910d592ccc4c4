"""Reads the journal of a node daemon: who stands where, at a cost proportional to what changed."""

import os
from collections.abc import Iterable, Iterator

import msgspec

from backends.batch.base import BatchState, Evidence, JobStatus
from runtime import spool
from runtime.spool import Spool


class _Line(msgspec.Struct):
    event: str
    token: str
    batch: str = ""
    tokens: list[str] = []
    node: str = ""
    at: float | None = None
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    file: bool = False
    report: msgspec.Raw = msgspec.Raw(b"")


_decode = msgspec.json.Decoder(_Line).decode


class Attempt(msgspec.Struct, kw_only=True):
    """One token of the journal; `start` and `length` say where the line of its end stands in `segment`."""

    token: str
    batch: str
    place: int
    segment: int
    node: str
    state: BatchState = BatchState.PENDING
    started_at: float | None = None
    ended_at: float | None = None
    code: int | None = None
    signal: int | None = None
    reason: str = ""
    reported: bool = False
    start: int = 0
    length: int = 0

    def status(self) -> JobStatus:
        """Return it in the words of the contract."""
        over = self.state is BatchState.ENDED
        return JobStatus(
            token=self.token,
            state=self.state,
            batch_id=f"{self.batch}.{self.place}",
            exit_code=self.code,
            signal=self.signal,
            node=self.node,
            evidence=(Evidence.REPORT if self.reported else Evidence.SENTINEL) if over else None,
            reason=self.reason,
            started_at=self.started_at,
            ended_at=self.ended_at,
        )


class LocalJournal:
    """All attempts of one spool directory that have not been cleaned."""

    def __init__(self, where: Spool) -> None:
        self.attempts: dict[str, Attempt] = {}
        self.live = 0
        self._where = where
        self._read: dict[int, int] = {}
        self._kept: dict[int, int] = {}

    @property
    def cursor(self) -> str:
        """Return how far the journal was read: "segment:offset,..."."""
        return ",".join(f"{number}:{offset}" for number, offset in sorted(self._read.items())) or "-"

    def read(self) -> list[Attempt]:
        """Take in what was appended since the last time; return the attempts that it is about, in order."""
        changed: dict[str, Attempt] = {}
        for number in self._where.segments():
            offset = self._read.setdefault(number, 0)
            for start, text in self._lines(number, offset):
                for attempt in self._take(number, start, text):
                    changed[attempt.token] = attempt
        return [attempt for attempt in changed.values() if attempt.token in self.attempts]

    def since(self, cursor: str) -> list[Attempt]:
        """Return the attempts of which an older cursor does not know; for the first look after a restart."""
        seen = parse_cursor(cursor)
        tokens: dict[str, None] = {}
        before = dict(self._read)
        for number in before:
            for _, text in self._lines(number, seen.get(number, 0)):
                line = _decode(text)
                tokens.update(dict.fromkeys(line.tokens or [line.token]))
        self._read.update(before)
        return [self.attempts[token] for token in tokens if token in self.attempts]

    def report(self, attempt: Attempt) -> bytes | None:
        """Return the report that an attempt left, or None."""
        if not attempt.reported:
            return None
        with open(self._where.segment(attempt.segment), "rb") as source:
            line = _decode(os.pread(source.fileno(), attempt.length, attempt.start))
        if not line.file:
            return bytes(line.report)
        path = os.path.join(self._where.job(attempt.batch, attempt.token), spool.REPORT)
        try:
            with open(path, "rb") as source:
                return source.read()
        except FileNotFoundError:
            return None

    def clean(self, attempts: Iterable[Attempt]) -> None:
        """Forget attempts for good, and remove the segments that nobody needs any more."""
        segments: dict[int, list[str]] = {}
        for attempt in attempts:
            segments.setdefault(attempt.segment, []).append(attempt.token)
        for number, tokens in segments.items():
            descriptor = os.open(self._where.segment(number), os.O_WRONLY | os.O_APPEND)
            try:
                spool.append(descriptor, spool.line(spool.CLEANED, "", tokens=tokens))
            finally:
                os.close(descriptor)
        self.read()
        for number in sorted(self._read)[:-1]:
            if not self._kept.get(number):
                os.unlink(self._where.segment(number))
                del self._read[number]
                self._kept.pop(number, None)

    def _lines(self, number: int, offset: int) -> Iterator[tuple[int, bytes]]:
        """Yield (start, text) of each whole and readable line from `offset` on, and remember how far it went."""
        with open(self._where.segment(number), "rb") as source:
            if os.fstat(source.fileno()).st_size <= offset:
                return
            source.seek(offset)
            raw = source.read()
        whole = raw.rfind(b"\n") + 1
        self._read[number] = offset + whole
        for text in raw[:whole].split(b"\n"):
            if text and _readable(text):
                yield offset, text
            offset += len(text) + 1

    def _take(self, number: int, start: int, text: bytes) -> list[Attempt]:
        line = _decode(text)
        if line.event == spool.ACCEPTED:
            return [self._accept(number, line, place, token) for place, token in enumerate(line.tokens)]
        if line.event == spool.CLEANED:
            for token in line.tokens:
                if self.attempts.pop(token, None) is not None:
                    self._kept[number] -= 1
            return []
        attempt = self.attempts.get(line.token)
        if attempt is None or attempt.state is BatchState.ENDED:
            return []
        if line.event == spool.STARTED:
            attempt.state, attempt.started_at = BatchState.RUNNING, line.at
        elif line.event == spool.ENDED:
            self._end(attempt, line, start, len(text))
        return [attempt]

    def _accept(self, number: int, line: _Line, place: int, token: str) -> Attempt:
        attempt = self.attempts.get(token)
        if attempt is None:
            attempt = Attempt(token=token, batch=line.batch, place=place, segment=number, node=line.node)
            self.attempts[token] = attempt
            self._kept[number] = self._kept.get(number, 0) + 1
            self.live += 1
        return attempt

    def _end(self, attempt: Attempt, line: _Line, start: int, length: int) -> None:
        attempt.state, attempt.ended_at = BatchState.ENDED, line.at
        attempt.code, attempt.signal, attempt.reason = line.code, line.signal, line.reason
        attempt.reported = line.file or bool(line.report)
        attempt.start, attempt.length = start, length
        self.live -= 1


def parse_cursor(cursor: str) -> dict[int, int]:
    """Return the offsets by segment that a cursor holds; raise ValueError if it is none of ours."""
    pairs = (part.split(":") for part in cursor.split(",") if part not in ("", "-"))
    return {int(number): int(offset) for number, offset in pairs}


def _readable(text: bytes) -> bool:
    try:
        _decode(text)
    except msgspec.MsgspecError:
        return False
    return True

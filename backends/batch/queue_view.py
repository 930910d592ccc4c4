"""What is known of the jobs at one target, from one listing to the next: the work is proportional to what changed."""

import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import structs

from backends.batch.base import BatchState, Evidence, JobStatus, Poll
from backends.batch.scheduler import Listed

GONE = "gone from the queue without proof of an end"
PER_QUESTION = 200
"""Most jobs that the accounting is asked for in one go."""


class QueueView:
    """Remembers the last listing as raw texts, so that only new ones are parsed, and the status of every token in it.

    `parse` reads one text. `clock` gives seconds that never go back; an end that only the batch system tells of is
    believed `evidence_s` after it was first seen, for the sentinel may be late; a sentinel is believed at once.
    """

    def __init__(self, parse: Callable[[str], Listed | None], clock: Callable[[], float], evidence_s: float) -> None:
        self.parcels: dict[str, Sequence[str]] = {}
        self.status: dict[str, JobStatus] = {}
        self.gone: dict[str, str] = {}
        """Tokens that vanished without proof of an end, and the names that they were handed over with."""
        self._parse = parse
        self._clock = clock
        self._evidence_s = evidence_s
        self._records: dict[str, Listed] = {}
        self._ended: set[str] = set()
        self._listed: set[str] = set()
        self._cleaned: set[str] = set()
        self._doubted: dict[str, tuple[float, JobStatus]] = {}
        self._life = secrets.token_hex(4)
        self._changes: deque[str] = deque()
        self._forgotten = 0

    def strange(self, records: Iterable[str]) -> set[str]:
        """Return the names of arrays in a listing whose tokens are not known; they have to be asked for."""
        found = (self._parse(record) for record in set(records) - self._records.keys())
        return {listed.name for listed in found if listed is not None and self.token(listed) is None}

    def token(self, listed: Listed) -> str | None:
        """Return the token of a listed job: its name, unless that is the name of an array."""
        if not listed.name.startswith(ARRAY):
            return listed.name
        tokens = self.parcels.get(listed.name)
        if tokens is None:
            return None
        return tokens[listed.index] if listed.index < len(tokens) else ""

    def take(self, records: Iterable[str], ends: Iterable[Mapping[str, Any]]) -> None:
        """Take in a whole listing, and sentinels that were read after it."""
        now = set(records)
        before, self._records = self._records, {}
        vanished: dict[str, str] = {}
        for record, listed in before.items():
            if record in now:
                self._records[record] = listed
            elif token := self.token(listed):
                vanished[token] = listed.name
        for end in ends:
            self._end(sentinel(end))
        for record in now - before.keys():
            fresh = self._parse(record)
            if fresh is None:
                continue
            self._records[record] = fresh
            if token := self.token(fresh):
                vanished.pop(token, None)
                self._listed.add(token)
                self.see(token, fresh)
        for token, name in vanished.items():
            self._vanish(token, name)
        self._believe()

    def see(self, token: str, listed: Listed) -> None:
        """Take in what the batch system or its accounting says of one token."""
        status = status_of(token, listed)
        if token in self._ended or token in self._cleaned:
            return
        if status.state is BatchState.ENDED:
            self._doubted.setdefault(token, (self._clock() + self._evidence_s, status))
            return
        self.gone.pop(token, None)
        self._doubted.pop(token, None)
        self._note(status)

    def live(self, token: str) -> bool:
        """Return whether the batch system lists this token as one that has not ended."""
        status = self.status.get(token)
        return status is not None and status.state in (BatchState.PENDING, BatchState.RUNNING, BatchState.HELD)

    def forget(self, tokens: Iterable[str]) -> None:
        """Tokens were cleaned: say no more of them, whatever is still listed."""
        for token in tokens:
            self.status.pop(token, None)
            if token in self._listed:
                self._cleaned.add(token)
            self._ended.discard(token)
            self._doubted.pop(token, None)
            self.gone.pop(token, None)

    def since(self, cursor: str) -> Poll:
        """Return the changes after a cursor, or everything for one of another life, which counts as none."""
        end = f"{self._life}.{self._forgotten + len(self._changes)}"
        life, _, number = cursor.partition(".")
        behind = int(number) - self._forgotten if life == self._life and number.isdigit() else -1
        if not 0 <= behind <= len(self._changes):
            return Poll(statuses=list(self.status.values()), cursor=end, complete=True)
        for _ in range(behind):
            self._changes.popleft()
        self._forgotten += behind
        changed = [self.status[token] for token in dict.fromkeys(self._changes) if token in self.status]
        return Poll(statuses=changed, cursor=end, complete=False)

    def questions(self) -> list[str]:
        """Return names of vanished jobs that the accounting should be asked for now, each in its turn."""
        asked = list(self.gone.items())[:PER_QUESTION]
        for token, name in asked:
            del self.gone[token]
            self.gone[token] = name
        return list(dict.fromkeys(name for _, name in asked))

    def _end(self, status: JobStatus) -> None:
        if status.token in self._ended or status.token in self._cleaned:
            return
        known = self.status.get(status.token)
        if not status.batch_id and known is not None:
            status = structs.replace(status, batch_id=known.batch_id)
        self._ended.add(status.token)
        self._doubted.pop(status.token, None)
        self.gone.pop(status.token, None)
        self._note(status)

    def _vanish(self, token: str, name: str) -> None:
        self._listed.discard(token)
        self._cleaned.discard(token)
        if token in self._ended or token in self._doubted or token not in self.status:
            return
        self.gone[token] = name
        known = self.status[token]
        self._note(JobStatus(token=token, state=BatchState.UNKNOWN, batch_id=known.batch_id, reason=GONE))

    def _believe(self) -> None:
        now = self._clock()
        for token in [token for token, (at, _) in self._doubted.items() if at <= now]:
            self._end(self._doubted[token][1])

    def _note(self, status: JobStatus) -> None:
        if self.status.get(status.token) != status:
            self.status[status.token] = status
            self._changes.append(status.token)


ARRAY = "prodagent-"
"""What the names of arrays begin with; a token cannot hold a hyphen as the agent makes them."""


def status_of(token: str, listed: Listed) -> JobStatus:
    """Return what a batch system's own record says of a token."""
    return JobStatus(
        token=token,
        state=listed.state,
        batch_id=listed.id,
        exit_code=listed.exit_code,
        signal=listed.signal,
        node=listed.node,
        evidence=Evidence.ACCOUNTING if listed.state is BatchState.ENDED else None,
        reason=listed.reason,
        started_at=listed.started_at,
        ended_at=listed.ended_at,
    )


def sentinel(end: Mapping[str, Any]) -> JobStatus:
    """Return what a sentinel (runtime/site_spool.py) says."""
    code = end.get("code", 0)
    return JobStatus(
        token=end["token"],
        state=BatchState.ENDED,
        batch_id=end.get("batch_id", ""),
        exit_code=code if code >= 0 else None,
        signal=-code if code < 0 else None,
        node=end.get("node", ""),
        evidence=Evidence.SENTINEL,
        reason=end.get("reason", ""),
        started_at=end.get("began"),
        ended_at=end.get("at"),
    )

"""A virtual cluster inside the process: virtual time, chosen vices, the same story for the same seed."""

import hashlib
import heapq
import math
import zlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from backends.batch.base import (
    BatchError,
    BatchState,
    Capabilities,
    Evidence,
    JobDescription,
    JobStatus,
    Poll,
    Verdict,
)
from backends.batch.simulated_model import Fate, SimulatedSettings, draw, failing, swallowed
from domain.exit_codes import INPUT_UNREADABLE
from domain.report import ErrorReport, InputReport, JobReport, OutputReport, StepReport

_encode = msgspec.json.Encoder().encode


class Clock(Protocol):
    """What tells the cluster the time: wall clock, and seconds that never go back."""

    def time(self) -> float: ...

    def monotonic(self) -> float: ...


class _Attempt(msgspec.Struct, kw_only=True):
    token: str
    batch_id: str
    fate: Fate
    spec: dict[str, Any]
    state: BatchState = BatchState.PENDING
    node: int = -1
    begun: float = 0.0
    ended: float = 0.0
    reason: str = ""
    cancelled: bool = False
    killed: bool = False
    avoids: tuple[str, ...] = ()
    unread: frozenset[str] = frozenset()
    output: OutputReport | None = None

    @property
    def silent(self) -> bool:
        """Whether it was ended from outside and so left no report."""
        return self.cancelled or self.killed


class SimulatedBatch:
    """Jobs wait for a slot, run for a while by `clock`, and end as their fate says.

    `on_output` is called with each file when its job writes it; a code that it returns is what the job fails with. `has`
    says whether an input can be read. The cluster lives and dies with this object.
    """

    capabilities = Capabilities(max_submit=1000, survives_agent=False, lists_all=True)

    def __init__(
        self,
        settings: SimulatedSettings,
        *,
        clock: Clock,
        on_output: Callable[[OutputReport], int | None] | None = None,
        has: Callable[[str], bool] | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._on_output = on_output
        self._has = has
        self._power = True
        self._used = 0.0
        self._begun = clock.monotonic()
        self._epoch = clock.time() - self._begun
        self._attempts: dict[str, _Attempt] = {}
        self._accepted = 0
        self._names = [*(f"node-{number:03d}" for number in range(self._settings.nodes)), ""]
        self._free = deque(place % self._settings.nodes for place in range(self._settings.slots))
        self._waiting: deque[_Attempt] = deque()
        self._agenda: list[tuple[float, int, Callable[[_Attempt, float], None], _Attempt]] = []
        self._entries = 0
        self._changes: deque[_Attempt] = deque()
        self._forgotten = 0

    async def open(self) -> None:
        self._advance()

    async def close(self) -> None:
        pass

    async def submit(self, jobs: Sequence[JobDescription]) -> list[Verdict]:
        now = self._advance()
        if len(jobs) > self.capabilities.max_submit:
            raise BatchError(f"{len(jobs)} jobs, at most {self.capabilities.max_submit} are taken", transient=False)
        for job in jobs:
            if job.token not in self._attempts:
                self._accept(job, now)
        self._fill(now)
        return [Verdict(token=job.token, accepted=True, batch_id=self._attempts[job.token].batch_id) for job in jobs]

    async def find(self, tokens: Sequence[str]) -> dict[str, JobStatus]:
        self._advance()
        return {token: self._status(self._attempts[token]) for token in tokens if token in self._attempts}

    async def poll(self, cursor: str) -> Poll:
        self._advance()
        end = str(self._forgotten + len(self._changes))
        behind = int(cursor) - self._forgotten if cursor else -1
        if not 0 <= behind <= len(self._changes):
            everyone = [self._status(attempt) for attempt in self._attempts.values()]
            return Poll(statuses=everyone, cursor=end, complete=True)
        for _ in range(behind):
            self._changes.popleft()
        self._forgotten += behind
        changed = {attempt.token: attempt for attempt in self._changes if attempt.token in self._attempts}
        twice = [attempt for attempt in changed.values() if attempt.fate.duplicated]
        return Poll(statuses=list(map(self._status, [*changed.values(), *twice])), cursor=end, complete=False)

    async def cancel(self, tokens: Sequence[str]) -> None:
        now = self._advance()
        for token in tokens:
            attempt = self._attempts.get(token)
            if attempt is not None and attempt.state is not BatchState.ENDED and not attempt.cancelled:
                self._cancel(attempt, now)
        self._fill(now)

    async def release(self, tokens: Sequence[str]) -> None:
        self._advance()
        for token in tokens:
            if token in self._attempts:
                self._release(self._attempts[token], self._clock.monotonic())
        self._fill(self._clock.monotonic())

    async def fetch(self, tokens: Sequence[str]) -> dict[str, bytes]:
        self._advance()
        found = ((token, self._attempts.get(token)) for token in tokens)
        return {
            token: _encode(self._report(attempt))
            for token, attempt in found
            if attempt is not None and attempt.state is BatchState.ENDED and not attempt.silent
        }

    async def clean(self, tokens: Sequence[str]) -> None:
        self._advance()
        for token in tokens:
            attempt = self._attempts.get(token)
            if attempt is not None and attempt.state is BatchState.ENDED:
                del self._attempts[token]

    # what befalls it, and what is seen from outside

    def change(self, **settings: Any) -> None:
        """Let other shares or more black holes hold from now on."""
        self._catch_up()
        self._settings = msgspec.structs.replace(self._settings, **settings)

    def cut_power(self) -> None:
        """All running jobs die, without reports; nothing starts until `power_up`."""
        now = self._catch_up()
        self._power = False
        for attempt in self._attempts.values():
            if attempt.state is BatchState.RUNNING and not attempt.ended:
                self._free_slot(attempt, now)
                attempt.state, attempt.ended, attempt.killed = BatchState.ENDED, now, True
                attempt.reason = "simulated power cut"
                self._changes.append(attempt)

    def power_up(self) -> None:
        """Start who waits."""
        self._power = True
        self._fill(self._catch_up())

    @property
    def running(self) -> int:
        """How many slots are in use now."""
        self._catch_up()
        return self._settings.slots - len(self._free)

    @property
    def waiting(self) -> int:
        """How many jobs wait for a slot now."""
        self._catch_up()
        return sum(attempt.state is BatchState.PENDING for attempt in self._waiting)

    @property
    def used_s(self) -> float:
        """Slot seconds that jobs which have left their slots took."""
        return self._used

    # the cluster's own doings

    def _catch_up(self) -> float:
        """Let happen what was due by now."""
        now = self._clock.monotonic()
        while self._agenda and self._agenda[0][0] <= now:
            due, _, happen, attempt = heapq.heappop(self._agenda)
            happen(attempt, due)
            self._fill(due)
        return now

    def _advance(self) -> float:
        """The same for a caller; raise BatchError in an outage, while the cluster itself goes on."""
        now = self._catch_up()
        since = now - self._begun
        for start, duration in self._settings.outages:
            if start <= since < start + duration:
                raise BatchError(f"simulated outage until {start + duration:.0f} s", transient=True)
        return now

    def _plan(self, due: float, happen: Callable[[_Attempt, float], None], attempt: _Attempt) -> None:
        self._entries += 1
        heapq.heappush(self._agenda, (due, self._entries, happen, attempt))

    def _accept(self, job: JobDescription, now: float) -> None:
        self._accepted += 1
        fate = draw(self._settings, job.token, job.wall_s, merge=bool(job.spec.get("inputs")))
        attempt = _Attempt(
            token=job.token, batch_id=str(self._accepted), fate=fate, spec=job.spec, avoids=job.avoid_nodes
        )
        self._attempts[job.token] = attempt
        if fate.held:
            attempt.state, attempt.reason = BatchState.HELD, "simulated hold"
            if self._settings.hold_s:
                self._plan(now + self._settings.hold_s, self._release, attempt)
        else:
            self._waiting.append(attempt)
        self._changes.append(attempt)

    def _release(self, attempt: _Attempt, _: float) -> None:
        if attempt.state is BatchState.HELD:
            attempt.state, attempt.reason = BatchState.PENDING, ""
            self._waiting.append(attempt)
            self._changes.append(attempt)

    def _fill(self, now: float) -> None:
        """Start who waits while there are free slots."""
        choosy: list[_Attempt] = []
        while self._power and self._free and self._waiting:
            attempt = self._waiting.popleft()
            if attempt.state is not BatchState.PENDING:
                continue
            node = self._free_node(attempt)
            if node is None:
                choosy.append(attempt)
                continue
            attempt.state, attempt.begun, attempt.node = BatchState.RUNNING, now, node
            if attempt.node < self._settings.black_holes:
                attempt.fate = swallowed(attempt.fate)
            self._changes.append(attempt)
            self._plan(now + attempt.fate.run_s, self._leave, attempt)
        self._waiting.extendleft(reversed(choosy))

    def _free_node(self, attempt: _Attempt) -> int | None:
        """Take the first free slot on a node that the attempt does not avoid; None if there is none."""
        if not attempt.avoids:
            return self._free.popleft()
        for place, node in enumerate(self._free):
            if self._names[node] not in attempt.avoids:
                del self._free[place]
                return node
        return None

    def _leave(self, attempt: _Attempt, now: float) -> None:
        """A job's process ends; the batch system may learn it later, or never."""
        if attempt.silent:
            return
        self._free_slot(attempt, now)
        attempt.ended = now
        if attempt.fate.lost:
            attempt.state, attempt.reason = BatchState.UNKNOWN, "simulated loss"
            self._changes.append(attempt)
            return
        if not attempt.fate.code:
            self._finish(attempt)
        if attempt.fate.late:
            self._plan(now + self._settings.late_s, self._show, attempt)
        else:
            self._show(attempt, now)

    def _finish(self, attempt: _Attempt) -> None:
        """Read the inputs and write the output; what cannot be done is the job's failure."""
        if self._has is not None:
            wanted = [entry["lfn"] for entry in attempt.spec.get("inputs") or ()]
            attempt.unread = frozenset(lfn for lfn in wanted if not self._has(lfn))
        if attempt.unread:
            attempt.fate = failing(attempt.fate, INPUT_UNREADABLE)
            return
        attempt.output = _output(attempt, self._settings)
        if attempt.output is None or self._on_output is None or attempt.fate.lying:
            return
        if code := self._on_output(attempt.output):
            attempt.fate, attempt.output = failing(attempt.fate, code), None

    def _free_slot(self, attempt: _Attempt, now: float) -> None:
        self._free.append(attempt.node)
        self._used += now - attempt.begun

    def _show(self, attempt: _Attempt, _: float) -> None:
        if attempt.state is BatchState.RUNNING:
            attempt.state = BatchState.ENDED
            self._changes.append(attempt)

    def _cancel(self, attempt: _Attempt, now: float) -> None:
        if attempt.state is BatchState.RUNNING and not attempt.ended:
            self._free_slot(attempt, now)
        attempt.cancelled = not attempt.ended or attempt.state is BatchState.UNKNOWN
        if attempt.cancelled:
            attempt.ended, attempt.reason = now, "cancelled"
        attempt.state = BatchState.ENDED
        self._changes.append(attempt)

    # what is told

    def _status(self, attempt: _Attempt) -> JobStatus:
        over = attempt.state is BatchState.ENDED
        code = attempt.fate.code
        return JobStatus(
            token=attempt.token,
            state=attempt.state,
            batch_id=attempt.batch_id,
            exit_code=(code if code < 256 else 1) if over and not attempt.silent else None,
            signal=9 if attempt.killed else None,
            node=self._names[attempt.node],
            evidence=Evidence.ACCOUNTING if over else None,
            reason=attempt.reason,
            started_at=self._epoch + attempt.begun if attempt.node >= 0 else None,
            ended_at=self._epoch + attempt.ended if over else None,
        )

    def _report(self, attempt: _Attempt) -> JobReport:
        code = attempt.fate.code
        step = StepReport(
            name="payload",
            exit_code=code if code < 256 else 1,
            wall_s=attempt.fate.run_s,
            cpu_s=attempt.fate.run_s * 0.9,
        )
        inputs = attempt.spec.get("inputs") or ()
        return JobReport(
            schema=1,
            token=attempt.token,
            job=attempt.spec.get("job", 0),
            exit_code=code,
            started_at=self._epoch + attempt.begun,
            ended_at=self._epoch + attempt.ended,
            node=self._names[attempt.node],
            steps=[step],
            inputs=[
                InputReport(lfn=entry["lfn"], ok=entry["lfn"] not in attempt.unread, events=entry.get("events", 0))
                for entry in inputs
            ],
            outputs=[attempt.output] if attempt.output is not None else [],
            errors=[ErrorReport(code=code, step="payload", text="simulated failure")] if code else [],
        )


def _output(attempt: _Attempt, settings: SimulatedSettings) -> OutputReport | None:
    """Return the file that a job leaves: as large as its events, or as the inputs of a merge."""
    spec = attempt.spec
    wanted = spec.get("output")
    if not wanted:
        return None
    inputs = spec.get("inputs") or []
    if inputs:
        events, size = sum(i.get("events") or 0 for i in inputs), sum(i.get("size") or 0 for i in inputs)
    else:
        events = int(spec.get("events", settings.events) * attempt.fate.yields)
        size = events * settings.event_bytes
    large = wanted.get("merged_lfn") and size >= wanted.get("merged_from_bytes", math.inf)
    lfn = wanted["merged_lfn"] if large else wanted["lfn"]
    rules = spec.get("stage_out")
    root = rules[0].get("root", "") if rules else ""
    return OutputReport(
        lfn=lfn,
        pfn=f"{root}{lfn}",
        size=size,
        events=events,
        adler32=f"{zlib.adler32(lfn.encode()):08x}",
        sha256=hashlib.sha256(lfn.encode()).hexdigest(),
    )

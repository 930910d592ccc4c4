"""How long a job waits between two stages, from the times of its facts (REL-13).

Short jobs at four simulated sites that are polled each second, one attempt in ten fails; the peers are the limits:
a failed attempt is decided on within 5 s, and what follows a job that has ended is submitted within 10 s beyond the poll.
"""

import asyncio
import contextlib
import itertools
import math
import sqlite3
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from bench.lifecycle import Place, lives, trivial
from domain import events as e
from domain.spec import Retry

JOBS = 5_000
PLACE = Place(slots=100, success=0.9, poll_s=1.0)
RETRY = Retry(processing=20, merge=20, base_s=1.0, cap_s=5.0)
DECIDED = (e.JobsCooledOff, e.JobsRequeued, e.JobsPaused, e.JobsExhausted)
THERE = ("JobsSubmitted", "JobsStarted", "JobsEnded")
"""The first of these says that a batch system has a job: a listing may come before the answer to the submission is written."""
SHARES = {"median": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}

Times = dict[int, float]
"""When something happened (UTC epoch seconds), by job."""


class _Ids(msgspec.Struct):
    ids: list[int]


def facts(store: Path) -> Iterator[tuple[str, float, int]]:
    """Yield type, time and job of each fact about jobs, in their order."""
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as reader:
        for kind, at, body in reader.execute("SELECT type, at, body FROM event WHERE entity = 'job' ORDER BY id"):
            yield from ((kind, at, job) for job in msgspec.json.decode(body, type=_Ids).ids)


def between(found: Iterable[tuple[str, float, int]], begins: type, follows: Iterable[type]) -> list[float]:
    """Return the seconds from each fact of one kind to the next of other kinds about the same job."""
    waiting: Times = {}
    names = {kind.__name__ for kind in follows}
    waits = []
    for kind, at, job in found:
        if kind == begins.__name__:
            waiting[job] = at
        elif kind in names and job in waiting:
            waits.append(at - waiting.pop(job))
    return waits


def to_merges(store: Path) -> list[float]:
    """Return for each merge the seconds from the end of the last job that it takes until it is submitted."""
    ended: Times = {}
    submitted: Times = {}
    for kind, at, job in facts(store):
        if kind == "JobsEnded":
            ended[job] = at
        if kind in THERE:
            submitted.setdefault(job, at)
    members = defaultdict(list)
    with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as reader:
        pairs = "SELECT m.job_id, f.job_id FROM merge_input m JOIN file f ON f.id = m.file_id WHERE m.live = 1"
        for merge, owner in reader.execute(pairs):
            members[merge].append(owner)
    return [submitted[merge] - max(ended[owner] for owner in owners) for merge, owners in members.items()]


def percentiles(name: str, waits: list[float]) -> dict[str, float]:
    """Return the number of waits and their percentiles, in seconds."""
    ordered = sorted(waits)
    cut = {f"{name}_{word}_s": ordered[math.ceil(share * len(ordered)) - 1] for word, share in SHARES.items()}
    return {f"{name}_number": float(len(ordered)), **cut}


def measure(scale: float = 1.0) -> dict[str, float]:
    """Measure `scale` times 5,000 jobs."""
    jobs = int(JOBS * scale)
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        spec = msgspec.structs.replace(trivial(jobs), retry=RETRY)
        asyncio.run(lives(Path(directory), spec, PLACE))
        store = Path(directory) / "state" / "agent.db"
        hops = {
            "seen_to_booked": between(facts(store), e.JobsEnded, (e.JobsAccounted, e.JobsFailed)),
            "failed_to_decision": between(facts(store), e.JobsFailed, DECIDED),
            "queued_to_submitted": between(facts(store), e.JobsQueued, (e.JobsSubmitted,)),
            "last_end_to_merge_submitted": to_merges(store),
        }
    return dict(itertools.chain.from_iterable(percentiles(name, waits).items() for name, waits in hops.items()))

"""One year of CMS 2008, booked: 1.5·10⁹ events as 3·10⁶ jobs at 30 sites, of which one attempt in twenty fails.

Every job is created, queued, submitted, tracked, reported, merged, catalogued and cleaned; the sites are simulated, the
store is real. `--scale 0.1` books a tenth of it. The limit is an hour for the whole.
"""

import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from actors.world import World
from bench.lifecycle import Place, Spent, lives, rates, trivial
from domain.job import JobState
from domain.spec import Retry
from storage import counters

JOBS = 3_000_000
EVENTS = 500
PLACE = Place(sites=30, slots=500, success=0.95, poll_s=3.0)
"""Polled as seldom as keeps all slots turning: 15,000 of them give 5,000 jobs a second, several times what the agent can."""
RETRY = Retry(processing=20, merge=20, base_s=1.0, cap_s=5.0)
"""Quick, and enough tries for every job to end well: the year is booked whole."""
EVERY_S = 5.0
LIMIT_S = 3600.0


class Progress:
    """Says every few seconds how far the year is, and keeps the course."""

    def __init__(self, jobs: int) -> None:
        self.jobs = jobs
        self.course: list[tuple[float, int, float]] = []
        self._begun = time.perf_counter()
        self._task: asyncio.Task[None] | None = None

    def watch(self, world: World) -> None:
        self._task = asyncio.get_running_loop().create_task(self._look(world), name="progress")

    async def _look(self, world: World) -> None:
        over = (JobState.SUCCESS, JobState.CLEANED)
        while True:
            done = await world.store.read(lambda c: counters.items(c, counters.JOB, over))
            self.course.append((time.perf_counter() - self._begun, done, time.process_time()))
            self._say()
            await asyncio.sleep(EVERY_S)

    def _say(self) -> None:
        seconds, done, _ = self.course[-1]
        before, earlier, _ = self.course[-2] if len(self.course) > 1 else (0.0, 0, 0.0)
        rate = (done - earlier) / max(1e-9, seconds - before)
        print(f"  {seconds:6.0f} s {done:10,} jobs done {rate:8,.0f}/s {memory():5.0f} MB", file=sys.stderr, flush=True)

    async def end(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def sustained(course: list[tuple[float, int, float]], jobs: int) -> dict[str, float]:
    """Return the rate, and the CPU of each job, while between a fifth and four fifths of them were done: without the beginning,
    when none is done yet, and without the end, when only the last stages have work. Nothing, if that was too short to see."""
    within = [one for one in course if jobs / 5 <= one[1] <= 4 * jobs / 5]
    if len(within) < 2 or within[0][1] == within[-1][1]:
        return {}
    (began, first, before), (ended, last, after) = within[0], within[-1]
    return {
        "sustained_jobs_per_second": (last - first) / (ended - began),
        "sustained_cpu_ms_per_job": 1000 * (after - before) / (last - first),
    }


def memory() -> float:
    """Return the largest resident size so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def year(directory: Path, jobs: int, progress: Progress) -> Spent:
    """Book so many jobs."""
    try:
        spec = msgspec.structs.replace(trivial(jobs, name="cms-2008", events=EVENTS), retry=RETRY)
        return await lives(directory, spec, PLACE, watch=progress.watch, within=10 * LIMIT_S)
    finally:
        await progress.end()


def measure(scale: float = 0.01, keep: Path | None = None) -> dict[str, float]:
    jobs = max(1, int(JOBS * scale))
    progress = Progress(jobs)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=keep) as directory:
        spent = asyncio.run(year(Path(directory), jobs, progress))
        size = sum(path.stat().st_size for path in Path(directory).rglob("*.db*"))
    return {
        "jobs": jobs,
        "events": jobs * EVENTS,
        "seconds": spent.wall,
        "jobs_per_second": jobs / spent.wall,
        "whole_year_s_at_this_rate": JOBS * spent.wall / jobs,
        **sustained(progress.course, jobs),
        **rates(spent),
        "cpu_ms_per_job": 1000 * spent.cpu / jobs,
        "commits": spent.commits,
        "store_mb": size / 2**20,
        "max_rss_mb": memory(),
    }

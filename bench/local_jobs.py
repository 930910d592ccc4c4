"""Trivial local jobs through the node daemon, with its durable bookkeeping, against a bare loop of child processes.

The peer in the same run: asyncio.create_subprocess_exec of the same program, as many at once, no bookkeeping at all.
"""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from backends.batch.base import BatchState, JobDescription
from backends.batch.local import LocalBatch, LocalSettings
from runtime.build import build
from runtime.spec import SCHEMA

SLOTS = 2
TRUE = shutil.which("true") or "/bin/true"


def specification(token: str, number: int) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "token": token,
        "job": number,
        "type": "processing",
        "workflow": "bench",
        "sandbox": None,
        "environment": {},
        "inputs": [],
        "steps": [{"name": "true", "command": [TRUE], "environment": {}}],
        "output": None,
        "concatenate": False,
        "stage_out": [],
        "limits": {"wall_s": 60, "memory_mb": 1000, "disk_mb": 1000},
        "stage_out_pauses_s": [],
    }


async def through_the_node(directory: Path, jobs: int) -> float:
    """Return seconds from submission until every report is in hand."""
    settings = LocalSettings(directory=str(directory / "batch"), slots=SLOTS, idle_s=0.5)
    batch = LocalBatch(settings, runtime=build(directory))
    await batch.open()
    tokens = [f"bench{number:08d}" for number in range(jobs)]
    await _run(batch, ["warm-up"])
    begun = time.perf_counter()
    await _run(batch, tokens)
    seconds = time.perf_counter() - begun
    await batch.close()
    return seconds


async def _run(batch: LocalBatch, tokens: list[str]) -> None:
    for start in range(0, len(tokens), 500):
        chunk = tokens[start : start + 500]
        await batch.submit([JobDescription(token=token, spec=specification(token, n)) for n, token in enumerate(chunk)])
    left, cursor = set(tokens), ""
    while left:
        poll = await batch.poll(cursor)
        cursor = poll.cursor
        ended = [status.token for status in poll.statuses if status.state is BatchState.ENDED and status.token in left]
        if ended:
            reports = await batch.fetch(ended)
            assert len(reports) == len(ended)
            left.difference_update(ended)
        await asyncio.sleep(0.01)


async def bare_loop(jobs: int) -> float:
    """Return seconds for the same programs with nothing around them."""
    work = iter(range(jobs))

    async def worker() -> None:
        for _ in work:
            process = await asyncio.create_subprocess_exec(TRUE)
            await process.wait()

    begun = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(SLOTS)))
    return time.perf_counter() - begun


def measure(jobs: int = 2000) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        bare = min(asyncio.run(bare_loop(jobs)) for _ in range(2))
        ours = asyncio.run(through_the_node(Path(directory), jobs))
    return {
        "jobs": jobs,
        "jobs_per_second": jobs / ours,
        "bare_loop_per_second": jobs / bare,
        "ratio_to_bare_loop": bare / ours,
    }

"""Trivial jobs in pilots on a throw-away Slurm, against the same jobs handed to Slurm one by one as arrays, in one run.

What a batch system needs to start a job is paid once per pilot instead of once per job.
"""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path

from backends.batch.base import BatchSystem, JobDescription
from backends.batch.pilot import PilotBatch, PilotSettings
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.channel.hosts import Hosts
from bench.local_jobs import specification
from runtime.build import build
from supervisors import SystemClock
from tests.real.slurm import Slurm

POLL_S = 0.5
PILOTS = 2


async def drained(batch: BatchSystem, name: str, jobs: int) -> float:
    """Return seconds from the submission until every job has ended, with one status query each POLL_S."""
    await batch.open()
    tokens = [f"{name}{number:06d}" for number in range(jobs)]
    begun = time.perf_counter()
    for start in range(0, jobs, 500):
        chunk = enumerate(tokens[start : start + 500])
        described = [JobDescription(token=token, spec=specification(token, n), wall_s=60) for n, token in chunk]
        assert all(verdict.accepted for verdict in await batch.submit(described))
    left, cursor = set(tokens), ""
    while left:
        poll = await batch.poll(cursor)
        cursor = poll.cursor
        left -= {status.token for status in poll.statuses if status.state == "ended"}
        await asyncio.sleep(POLL_S)
    seconds = time.perf_counter() - begun
    await batch.close()
    return seconds


async def both(cluster: Slurm, directory: Path, plain: int, piloted: int) -> tuple[float, float]:
    hosts, clock, runtime = Hosts({}), SystemClock(), build(directory)

    def slurm(name: str) -> SlurmBatch:
        site = SlurmSettings(
            directory=str(directory / name), command_environment=cluster.environment, evidence_s=2, array_max=500
        )
        return SlurmBatch(site, hosts=hosts, runtime=runtime, clock=clock)

    one_by_one = await drained(slurm("plain"), "plain", plain)
    settings = PilotSettings(directory=str(directory / "shared"), over={}, max_pilots=PILOTS, idle_s=2.0, wall_s=3600.0)
    inner = slurm("slots")
    pilots = PilotBatch(settings, runtime=runtime, hosts=hosts, clock=clock, inner=lambda _: inner)
    in_pilots = await drained(pilots, "piloted", piloted)
    await hosts.close()
    return one_by_one, in_pilots


def measure(plain: int = 200, piloted: int = 1000) -> dict[str, float]:
    directory = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        with Slurm(nodes=2) as cluster:
            one_by_one, in_pilots = asyncio.run(both(cluster, directory, plain, piloted))
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return {
        "slurm_jobs_per_second": plain / one_by_one,
        "pilots": PILOTS,
        "pilot_jobs_per_second": piloted / in_pilots,
        "ratio": one_by_one / plain * piloted / in_pilots,
    }

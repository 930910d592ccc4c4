"""Trivial local jobs through the node daemon and through pilots, durable bookkeeping included, against a bare loop.

The bare loop: asyncio.create_subprocess_exec of the same program, as many at once, no bookkeeping at all. With `PEERS=1` also
Parsl and Dask in the same run, neither of which survives its own end; they go into a throw-away virtual environment. Rounds of all
are interleaved and the best of each counts, because other work on the machine only ever makes one slower.
"""

import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from backends.batch.base import BatchState, BatchSystem, JobDescription
from backends.batch.local import LocalBatch, LocalSettings
from backends.batch.pilot import PilotBatch, PilotSettings
from backends.channel.hosts import Hosts
from runtime.build import build
from runtime.spec import SCHEMA
from supervisors import SystemClock

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


def by_the_node(directory: Path) -> BatchSystem:
    return LocalBatch(
        LocalSettings(directory=str(directory / "node"), slots=SLOTS, idle_s=0.5), runtime=build(directory)
    )


def by_pilots(directory: Path) -> BatchSystem:
    """One pilot of all slots, in a slot of a local target."""
    inner = LocalSettings(directory=str(directory / "inner"), slots=SLOTS, idle_s=0.5)
    settings = PilotSettings(directory=str(directory / "shared"), over={}, slots=SLOTS, max_pilots=1, idle_s=0.5)
    runtime = build(directory)
    return PilotBatch(
        settings,
        runtime=runtime,
        hosts=Hosts({}),
        clock=SystemClock(),
        inner=lambda _: LocalBatch(inner, runtime=runtime),
    )


async def through(make: Callable[[Path], BatchSystem], directory: Path, jobs: int) -> tuple[float, float]:
    """Return seconds from submission until every report is in hand, and this process's CPU seconds for them."""
    batch = make(directory)
    await batch.open()
    tokens = [f"bench{number:08d}" for number in range(jobs)]
    await _run(batch, ["warm-up"])
    begun, cpu = time.perf_counter(), _cpu()
    await _run(batch, tokens)
    seconds, cpu = time.perf_counter() - begun, _cpu() - cpu
    await batch.clean(tokens)
    await batch.close()
    return seconds, cpu


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _run(batch: BatchSystem, tokens: list[str]) -> None:
    for start in range(0, len(tokens), 500):
        chunk = enumerate(tokens[start : start + 500])
        jobs = [JobDescription(token=token, spec=specification(token, n), wall_s=60) for n, token in chunk]
        verdicts = await batch.submit(jobs)
        assert all(verdict.accepted for verdict in verdicts), verdicts
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


PEERS = {
    "parsl": """
import sys, time, parsl
from parsl.config import Config
from parsl.executors import HighThroughputExecutor
from parsl.providers import LocalProvider
executor = HighThroughputExecutor(max_workers_per_node={slots}, address="127.0.0.1", provider=LocalProvider(max_blocks=1))
parsl.load(Config(executors=[executor], run_dir=sys.argv[1], usage_tracking=0))
@parsl.bash_app
def true():
    return "{true}"
true().result()
begun = time.perf_counter()
[job.result() for job in [true() for _ in range({jobs})]]
print(time.perf_counter() - begun, flush=True)
parsl.dfk().cleanup()
""",
    "dask": """
import subprocess, time
from dask.distributed import Client, LocalCluster
def true(number):
    return subprocess.run(["{true}"]).returncode
if __name__ == "__main__":
    with LocalCluster(n_workers={slots}, threads_per_worker=1, dashboard_address=None) as cluster, Client(cluster) as client:
        client.submit(true, -1).result()
        begun = time.perf_counter()
        client.gather(client.map(true, range({jobs})))
        print(time.perf_counter() - begun, flush=True)
""",
}
"""What a peer needs for the same programs, as its own documentation has it."""


def peer(name: str, environment: Path, jobs: int) -> float:
    """Return seconds for the same programs by a peer."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        script = Path(directory) / "peer.py"
        script.write_text(PEERS[name].format(slots=SLOTS, true=TRUE, jobs=jobs))
        command = [str(environment / "bin/python"), str(script), directory]
        path = f"{environment / 'bin'}:{os.environ['PATH']}"
        said = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, env={**os.environ, "PATH": path}, timeout=600
        )
    return float(said.stdout.split()[0])


def install_peers(directory: Path) -> Path:
    subprocess.run([sys.executable, "-m", "venv", str(directory / "peers")], check=True)
    install = [str(directory / "peers/bin/python"), "-m", "pip", "install", "-q", "parsl", "distributed"]
    subprocess.run(install, check=True)
    return directory / "peers"


def measure(jobs: int = 2000, rounds: int = 3) -> dict[str, float]:
    best: dict[str, float] = {}
    used: dict[str, float] = {}

    def note(name: str, seconds: float) -> None:
        best[name] = min(seconds, best.get(name, seconds))

    with tempfile.TemporaryDirectory(prefix="bench-") as root:
        peers = install_peers(Path(root)) if os.environ.get("PEERS") else None
        for turn in range(rounds):
            note("bare_loop", asyncio.run(bare_loop(jobs)))
            for name, make in {"node": by_the_node, "pilots": by_pilots}.items():
                seconds, cpu = asyncio.run(through(make, Path(root) / f"{name}{turn}", jobs))
                note(name, seconds)
                used[name] = min(cpu, used.get(name, cpu))
            for name in PEERS if peers else ():
                assert peers is not None
                note(name, peer(name, peers, jobs))
    figures = {"jobs": float(jobs), "bare_loop_per_second": jobs / best["bare_loop"]}
    for name in [name for name in best if name != "bare_loop"]:
        figures[f"{name}_per_second"] = jobs / best[name]
        figures[f"{name}_ratio_to_bare_loop"] = best["bare_loop"] / best[name]
    figures |= {f"{name}_controller_cpu_ms_per_job": 1000 * seconds / jobs for name, seconds in used.items()}
    return figures

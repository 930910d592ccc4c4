"""Full durable life of a job: create, submit, track, report, merge, catalogue, on a simulated batch system.

Every move is committed to SQLite with synchronous=FULL. The peer in the same run is the least that durability costs: one
committed row per job, in groups of the same size.
"""

import asyncio
import resource
import sqlite3
import tempfile
import time
from pathlib import Path

from actors.messages import SubmitWorkflow
from actors.opening import open_world
from backends.opening import settings_of
from config.loader import load
from domain.spec import Merge, Step, WorkflowSpec
from domain.workflow import WorkflowState
from run_agent import tree
from storage import workflows
from supervisors import ActorSystem
from supervisors.testing import Signal

SITES = 4
SITE = """
[sites.s{n}.storage]
kind = "memory"

[sites.s{n}.targets.t{n}]
kind = "simulated"
slots = 2000
run_s = 0.01
success = 1.0
full_events = 1.0
max_submit = 1000
poll_s = 0.1
limits = {{ processing = 2000, merge = 500 }}
"""


def configuration(directory: Path) -> Path:
    path = directory / "agent.toml"
    head = '[agent]\nname = "bench"\n[admin]\nenabled = false\n[report]\nbatch = 1000\n[cleanup]\nbatch = 1000\nsweep_s = 1.0\n'
    path.write_text(head + "".join(SITE.format(n=n) for n in range(SITES)))
    return path


async def lives(directory: Path, jobs: int) -> tuple[float, float, int]:
    """Return wall seconds, CPU seconds of the process, and commits for `jobs` whole lives."""
    loaded = load(configuration(directory), settings_of)
    spec = WorkflowSpec(
        name="bench", events=jobs * 100, events_per_job=100, steps=[Step(command=["true"])], merge=Merge(max_files=20)
    )
    async with open_world(loaded) as world:
        system = ActorSystem(tree(world), clock=world.clock)
        done = Signal()

        def listen(kinds: frozenset[type]) -> None:
            world.tell_hearers(kinds)
            if any(kind.__name__ == "WorkflowsCompleted" for kind in kinds):
                done.fire()

        world.store.listen(listen)
        await system.start()
        begun, cpu = time.perf_counter(), time.process_time()
        await system.ref("injector").ask(SubmitWorkflow(spec=spec))
        await done.reached(within=600)
        wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
        assert all(item.state is WorkflowState.COMPLETED for item in (await world.store.read(workflows.load)).values())
        commits = world.store.commits
        await system.stop(drain=0.0)
    return wall, cpu, commits


def floor(directory: Path, jobs: int, group: int = 100) -> float:
    """Return seconds to commit one small row per job in groups, with the same durability."""
    connection = sqlite3.connect(directory / "floor.db", isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE job (id INTEGER PRIMARY KEY, body TEXT)"
    )
    begun = time.perf_counter()
    for _ in range(0, jobs, group):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO job (body) VALUES (?)", [("x" * 200,)] * group)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - begun
    connection.close()
    return seconds


def measure(jobs: int = 20_000) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        wall, cpu, commits = asyncio.run(lives(Path(directory), jobs))
        least = floor(Path(directory), jobs)
    return {
        "jobs": jobs,
        "jobs_per_second": jobs / wall,
        "cpu_ms_per_job": 1000 * cpu / jobs,
        "commits": commits,
        "one_row_commits_per_second": jobs / least,
        "ratio_to_one_row_per_job": least / wall,
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }

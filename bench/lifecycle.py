"""Full durable life of a job: create, submit, track, report, merge, catalogue, on a simulated batch system.

Every move is committed to SQLite with synchronous=FULL, or with `--mariadb` to a server of its own with
innodb_flush_log_at_trx_commit=1 on the same machine. The peer in the same run is the least that durability costs: one
committed row per job, in groups of the same size.
"""

import asyncio
import gc
import os
import resource
import sqlite3
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from actors.messages import SubmitWorkflow, Wake
from actors.opening import open_world
from actors.world import World
from backends.opening import settings_of
from config.loader import load
from domain.events import all_events
from domain.spec import Merge, Step, WorkflowSpec
from domain.workflow import WorkflowState
from run_agent import tree
from storage import log, workflows
from storage.engine import Connection
from supervisors import ActorSystem
from tests.real.mariadb import PASSWORD, MariaServer

SITES = 4
HEAD = """
[agent]
name = "bench"
store = "{store}"
[admin]
enabled = false
[report]
batch = 1000
[cleanup]
batch = 1000
sweep_s = 1.0
[errors]
fast_failures = 1000000
"""
"""As operators would have it, but that no node is excluded: here all jobs are short and each node fails its share of them."""
AT_START = ("keeper", "backup")
"""Actors that have much to do once, at a start on a large store."""
SQLITE = "sqlite:///state/agent.db"
SERVER = ("--innodb-flush-method=O_DIRECT", "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=512M")
"""The server as one would run it, with all of its durability."""
SITE = """
[sites.s{n}.storage]
kind = "memory"

[sites.s{n}.targets.t{n}]
kind = "simulated"
slots = {slots}
run_s = 0.01
success = {success}
full_events = 1.0
max_submit = 1000
poll_s = {poll_s}
limits = {{ processing = {slots}, merge = 500 }}
"""


class Place(NamedTuple):
    """The simulated sites: how many, jobs at a time at each, share of attempts that end well, pause between two polls."""

    sites: int = SITES
    slots: int = 2000
    success: float = 1.0
    poll_s: float = 0.1


USUAL = Place()


class Spent(NamedTuple):
    """What whole lives took: wall and CPU seconds of the process, commits."""

    wall: float
    cpu: float
    commits: int
    moves: Mapping[str, int]
    """How many items moved, by the fact that tells of it."""


def configuration(directory: Path, place: Place, store: str) -> Path:
    path = directory / "agent.toml"
    each = {"slots": place.slots, "success": place.success, "poll_s": place.poll_s}
    path.write_text(HEAD.format(store=store) + "".join(SITE.format(n=n, **each) for n in range(place.sites)))
    return path


class Agent(NamedTuple):
    """A running agent."""

    world: World
    system: ActorSystem


@asynccontextmanager
async def running(
    directory: Path, place: Place, heard: Callable[[frozenset[type]], None], store: str = SQLITE
) -> AsyncIterator[Agent]:
    """Run an agent configured in `directory`; `heard` is told of the kinds of facts after each commit."""
    gc.collect()
    gc.freeze()  # as run_agent.py does with what was imported
    async with open_world(load(configuration(directory, place, store), settings_of)) as world:
        system = ActorSystem(tree(world), clock=world.clock)

        def listen(kinds: frozenset[type]) -> None:
            world.tell_hearers(kinds)
            heard(kinds)

        world.store.listen(listen)
        await system.start()
        try:
            yield Agent(world, system)
        finally:
            await system.stop(drain=0.0)


async def lives(
    directory: Path,
    spec: WorkflowSpec,
    place: Place = USUAL,
    *,
    store: str = SQLITE,
    watch: Callable[[World], object] | None = None,
    within: float = 600.0,
) -> Spent:
    """Live through a workflow, from the request to the last cleaned job; `watch` is called once the agent runs.

    The clock starts when the agent has read the store through and taken a snapshot, which costs by the size of the store.
    """
    some_over = asyncio.Event()

    def heard(kinds: frozenset[type]) -> None:
        if any(kind.__name__ == "WorkflowsCompleted" for kind in kinds):
            some_over.set()

    async with running(directory, place, heard, store) as (world, system):
        for actor in AT_START:
            await system.ref(actor).ask(Wake(), timeout=within)
        if watch is not None:
            watch(world)
        before = await world.store.read(log.last)
        begun, cpu, commits = time.perf_counter(), time.process_time(), world.store.commits
        await system.ref("injector").ask(SubmitWorkflow(spec=spec))
        async with asyncio.timeout(within):
            while not await _over(world, spec.name):
                await some_over.wait()
                some_over.clear()
        spent = time.perf_counter() - begun, time.process_time() - cpu, world.store.commits - commits
        return Spent(*spent, await world.store.read(lambda c: _moves(c, before)))


def _moves(connection: Connection, after: int) -> Mapping[str, int]:
    """Return how many items the facts behind a place in the log moved, by the names of the facts."""
    counted: Counter[str] = Counter()
    while facts := log.after(connection, after, all_events().values(), 1000):
        for logged in facts:
            counted[type(logged.fact).__name__] += len(logged.fact.ids)
        after = facts[-1].id
    return counted


def rates(spent: Spent) -> dict[str, float]:
    """Return what REL-12 asks for: at least 50 submissions, 100 accounted jobs and 100 transitions a second."""
    return {
        "submissions_per_second": spent.moves["JobsSubmitted"] / spent.wall,
        "accounted_per_second": spent.moves["JobsAccounted"] / spent.wall,
        "transitions_per_second": sum(spent.moves.values()) / spent.wall,
    }


async def _over(world: World, name: str) -> bool:
    known = await world.store.read(workflows.load)
    return any(item.name == name and item.state is WorkflowState.COMPLETED for item in known.values())


def trivial(jobs: int, name: str = "bench", events: int = 100) -> WorkflowSpec:
    """Return a workflow of so many jobs whose payload is nothing, 20 files to a merge."""
    steps = [Step(command=["true"])]
    return WorkflowSpec(name=name, events=jobs * events, events_per_job=events, steps=steps, merge=Merge(max_files=20))


def floor(connection: Any, mark: str, jobs: int, group: int = 100) -> float:
    """Return seconds to commit one small row per job in groups, with the same durability; `mark`: the driver's parameter."""
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE floor (id INTEGER PRIMARY KEY, body TEXT)")
    begun = time.perf_counter()
    for first in range(0, jobs, group):
        cursor.execute("BEGIN")
        rows = [(first + n, "x" * 200) for n in range(group)]
        cursor.executemany(f"INSERT INTO floor (id, body) VALUES ({mark}, {mark})", rows)
        cursor.execute("COMMIT")
    return time.perf_counter() - begun


def on_sqlite(directory: Path, jobs: int) -> tuple[Spent, float]:
    """Return what the lives took, and the seconds of the floor."""
    spent = asyncio.run(lives(directory, trivial(jobs)))
    with closing(sqlite3.connect(directory / "floor.db", isolation_level=None)) as connection:
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL")
        return spent, floor(connection, "?", jobs)


@contextmanager
def mariadb(directory: Path) -> Iterator[MariaServer]:
    """Run a server whose store a configuration names by `reference`."""
    server = MariaServer(directory / "maria", *SERVER).install()
    os.environ["STORE_PASSWORD"] = PASSWORD
    server.start()
    try:
        yield server
    finally:
        server.stop()


def on_mariadb(directory: Path, jobs: int) -> tuple[Spent, float]:
    """Return what the lives took, and the seconds of the floor; the server's own CPU is not in them."""
    with mariadb(directory) as server:
        url = server.make()
        spent = asyncio.run(lives(directory, trivial(jobs), store=server.reference(url)))
        with closing(server.connect(url.rpartition("/")[2])) as connection:
            return spent, floor(connection, "%s", jobs)


def measure(scale: float = 1.0, *, mariadb: bool = False, runs: int = 3) -> dict[str, float]:
    """Measure the best of some runs, each on a store of its own."""
    jobs = int(20_000 * scale)
    found = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            found.append((on_mariadb if mariadb else on_sqlite)(Path(directory), jobs))
    best = min((spent for spent, _ in found), key=lambda spent: spent.wall)
    least = min(seconds for _, seconds in found)
    return {
        "jobs": jobs,
        "jobs_per_second": jobs / best.wall,
        **rates(best),
        "cpu_ms_per_job": 1000 * min(spent.cpu for spent, _ in found) / jobs,
        "commits": best.commits,
        "one_row_commits_per_second": jobs / least,
        "ratio_to_one_row_per_job": least / best.wall,
        "max_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }

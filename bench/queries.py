"""What operators and actors ask, the proof of the books and the start, on a store with a million jobs.

The peer of each question is the same question on a store of a hundredth the size: what grows with the store shows as ratio.
"""

import asyncio
import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import sqlalchemy as sa

from bench.filling import Plan, fill, plan
from config.settings import Settings
from domain.file import FileState
from domain.job import JobState
from domain.transfer import TransferState
from services.verify import verify
from storage import (
    archives,
    bulk,
    causes,
    datasets,
    heads,
    jobs,
    merges,
    messages,
    nodes,
    schema,
    transfers,
    views,
    why,
    workflows,
)
from storage.endings import endings
from storage.engine import Connection
from storage.engines.opening import open_reader
from storage.store import Store, Tx
from storage.views.sites import all_sites, said

SITES = 4
REPEATS = 5
NOW = 2e9

Question = Callable[[Connection], Any]


def settings() -> Settings:
    sites = {
        f"s{n}": {"storage": {"kind": "memory"}, "targets": {f"t{n}": {"kind": "simulated"}}} for n in range(SITES)
    }
    sites["archive"] = {"storage": {"kind": "memory"}, "targets": {}}
    return msgspec.convert({"agent": {"name": "bench"}, "sites": sites}, Settings)


def questions(newest: int) -> dict[str, Question]:
    """Return what is asked, by name; `newest` is the id of a job."""
    known = settings()
    return {
        "status": lambda c: views.status(c, NOW),
        "overview": lambda c: (views.status(c, NOW), views.jobs_by_site(c), views.causes(c), views.failures(c)),
        "causes": lambda c: views.causes(c, by=("exit_code", "blame", "site", "node", "fingerprint")),
        "archives": lambda c: archives.of_jobs(c, [newest]),
        "failures": lambda c: views.failures(c, 50),
        "jobs": views.jobs,
        "jobs_of_state": lambda c: views.jobs(c, workflow_name="filled", states=[JobState.RUNNING]),
        "jobs_of_site": lambda c: views.jobs(c, site="s1"),
        "files_of_state": lambda c: views.files(c, workflow_name="filled", states=[FileState.UNMERGED]),
        "one_job": lambda c: views.one_job(c, newest),
        "why_job": lambda c: why.why(c, f"job:{newest}", known, NOW),
        "why_workflow": lambda c: why.why(c, "workflow:filled", known, NOW),
        "why_site": lambda c: why.why(c, "site:s1", known, NOW),
        "one_workflow": lambda c: views.one_workflow(c, "filled", NOW),
        "sites": lambda c: all_sites(c, known, NOW),
        "controls": lambda c: said(c, NOW),
        "nodes": lambda c: nodes.excluded(c, NOW),
        "attempts_by_target": views.attempts_by_target,
        "transfers": views.transfers,
        "transfers_parked": lambda c: views.transfers(c, states=[TransferState.PARKED, TransferState.QUARANTINED]),
        "alerts": views.open_alerts,
        "dead_letters": lambda c: (views.dead_letters(c), views.dead_mail(c)),
        "audit": views.audited,
        "messages": lambda c: messages.listed(c, limit=100),
        "messages_of_type": lambda c: messages.listed(c, types=["JobsFailed"], limit=100),
        "history_of_job": lambda c: messages.history(c, "job", newest),
        "subscribers": messages.subscribers,
        "endings": endings,
        "datasets": views.datasets,
        "files_of_dataset": lambda c: datasets.files(c, limit=100),
        "queue_head": _queue_head,
        "loads": jobs.loads,
        "merge_look": lambda c: [workflows.processing_over(c, one.workflow_id) for one in merges.gatherings(c)],
        "transfers_due": lambda c: transfers.due(c, NOW),
    }


def of_the_log() -> dict[str, Question]:
    """Return the questions that read all facts there are; old ones are compacted."""
    return {
        "messages_of_sender": lambda c: messages.listed(c, sender="nobody", limit=100),
        "message_counts": messages.counts,
    }


def _queue_head(connection: Connection) -> list[jobs.Queued]:
    """The next thousand of all that are queued (PA-201)."""
    ranked: list[tuple[int, heads.Standing, int]] = [(0, standing, 1000) for standing in jobs.queued(connection)]
    return jobs.queue_head(connection, ranked, 1000)


async def ask(path: Path) -> dict[str, float]:
    """Return the seconds that each question takes, least of some repeats."""
    store = await Store.open(f"sqlite:///{path}")
    try:
        newest = await store.read(lambda c: int(c.execute(sa.text("SELECT max(id) FROM job")).scalar_one()))
        found = {name: await _least(store, question) for name, question in (questions(newest) | of_the_log()).items()}
    finally:
        await store.close()
    return found


async def _least(store: Store, question: Question) -> float:
    def timed(connection: Connection) -> float:
        begun = time.perf_counter()
        question(connection)
        return time.perf_counter() - begun

    return min([await store.read(timed) for _ in range(REPEATS)])


BY_NODE: dict[str, tuple[str, ...]] = {
    "causes_of_nodes": ("node",),
    "causes_of_nodes_by_code": ("exit_code", "node"),
    "causes_of_all": ("exit_code", "blame", "site", "node", "workflow_id", "fingerprint"),
}


async def ask_of_many_kinds(path: Path, kinds: int = 100_000) -> dict[str, float]:
    """Return the seconds of questions after nodes where so many kinds of failure have been seen, and the CPU seconds of one
    unit that adds some of them up (`causes_unit`)."""
    store = await Store.open(f"sqlite:///{path}")
    await fill(store, plan(60))
    found = {}
    try:
        await store.write(lambda tx: bulk.insert(tx.connection, schema.cause, list(_kinds(kinds))))
        rare = await store.read(lambda c: causes.surplus(c, NOW))
        for start in range(0, len(rare), causes.CHUNK):
            found["causes_unit"] = await store.write(partial(_added_up, ids=rare[start : start + causes.CHUNK]))
        for name, by in BY_NODE.items():
            found[name] = await _least(store, partial(views.causes, by=by))
            found[f"{name}_of_one_workflow"] = await _least(store, partial(views.causes, workflow_name="filled", by=by))
    finally:
        await store.close()
    return found


def _added_up(tx: Tx, ids: list[int]) -> float:
    begun = time.thread_time()
    causes.add_up(tx, ids)
    return time.thread_time() - begun


def _kinds(count: int) -> Iterator[dict[str, Any]]:
    """Yield causes at thirty sites, four patterns at each node."""
    times = {"first_at": 1e9, "last_at": 1.5e9, "attempt_id": 1, "rule": ""}
    for number in range(count):
        site, pattern = number // 4 % 30, number % 4
        at = {"site": f"s{site}", "node": f"node{site:02d}-{number // 120:05d}.example.org"}
        what = {"workflow_id": 1, "outcome": "failed", "exit_code": (134, 8021, 50660, 60311)[pattern], "blame": "site"}
        yield {**what, **at, "fingerprint": f"{pattern:032x}", "count": 1 + number % 59, **times}


async def proof(path: Path) -> tuple[float, float, int]:
    """Return wall and CPU seconds of one verification, and how many breaches it found."""
    reader = open_reader(f"sqlite:///{path}")
    begun, cpu = time.perf_counter(), time.process_time()
    found = await verify(reader)
    wall, cpu = time.perf_counter() - begun, time.process_time() - cpu
    await reader.close()
    return wall, cpu, len(found.breaches)


async def filled(path: Path, shares: Plan) -> None:
    """Make a store."""
    store = await Store.open(f"sqlite:///{path}")
    await fill(store, shares)
    await store.close()


def measure(scale: float = 1.0, keep: Path | None = None) -> dict[str, float]:
    """Measure at `scale` times a million jobs; `keep`: where the stores lie, made if they are not there."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        place = keep or Path(directory)
        place.mkdir(parents=True, exist_ok=True)
        large, small = int(1_000_000 * scale), int(10_000 * scale)
        paths = {count: place / f"filled-{count}.db" for count in (small, large)}
        for count, path in paths.items():
            if not path.exists():
                asyncio.run(filled(path, plan(count, SITES)))
        times = {count: asyncio.run(ask(path)) for count, path in paths.items()}
        gc.collect()
        wall, cpu, breaches = asyncio.run(proof(paths[large]))
        many = asyncio.run(ask_of_many_kinds(Path(directory) / "kinds.db", large // 10))
    figures = {"jobs": float(large), "verify_s": wall, "verify_cpu_s": cpu, "verify_breaches": float(breaches)}
    for name, seconds in times[large].items():
        figures[f"{name}_ms"] = 1000 * seconds
        figures[f"{name}_ratio"] = seconds / times[small][name]
    return figures | {f"{name}_ms": 1000 * seconds for name, seconds in many.items()}

"""The merge stage: one look takes in many sites and ends; a file that was taken spoils only its own merge."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.merge import Look, Merge
from actors.messages import Wake
from actors.world import World
from config.settings import Settings
from domain import events as e
from domain.ranges import Range
from domain.spec import Merge as Policy
from domain.spec import Step, WorkflowSpec
from storage import allocations, bulk, counters, jobs, merges, schema, workflows
from storage.engine import Connection
from storage.moves import StaleState
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorSystem, ChildSpec, SupervisorSpec

SITES = [f"s{number:02d}" for number in range(30)]
EACH = 4
"""Files at a site: two merges."""


class Watched(Merge):
    """Notes at how many places each look read files."""

    def __init__(self, world: World, looks: list[int]) -> None:
        super().__init__(world)
        self._looks = looks

    def _read(self, connection: Connection, now: float, *, ages: bool) -> Look:
        look = super()._read(connection, now, ages=ages)
        if look.found:
            self._looks.append(len(look.found))
        return look


class Field:
    """Small files at thirty sites."""

    def __init__(self, store: Store, directory: Path, batch: int) -> None:
        self.store = store
        self.looks: list[int] = []
        settings = msgspec.convert({"agent": {"name": "here"}, "merge": {"batch": batch}}, Settings)
        self._world = World(settings, store, store.clock, Sandboxes(directory), {}, {}, {}, {})

    async def merge(self) -> None:
        """Let the stage run until it finds no more."""
        child = ChildSpec("merge", partial(Watched, self._world, self.looks))
        system = ActorSystem(SupervisorSpec("root", (child,)))
        await system.start()
        seen = -1
        while len(self.looks) != seen:
            seen = len(self.looks)
            await system.ref("merge").ask(Wake())
        await system.stop(drain=0)

    async def fill(self) -> None:
        spec = WorkflowSpec(
            name="w", events=10 * len(SITES) * EACH, events_per_job=10, steps=[Step(command=["true"])],
            merge=Policy(max_files=2, max_wait_s=4_000_000_000),
        )  # fmt: skip

        def unit(tx: Any) -> None:
            owner, _ = workflows.add(tx, spec, name="w", sandbox="", events=spec.events, manager="")
            part = allocations.acquire(tx, owner, "w/1", Range(1, spec.events))
            (found,) = allocations.by_id(tx.connection, [part])
            ids = jobs.create(tx, found, spec, [Range(1 + 10 * n, 10) for n in range(len(SITES) * EACH)])
            dataset = tx.connection.execute(
                schema.dataset.insert().values(name="d", status="PRODUCTION", created_at=0.0)
            ).inserted_primary_key[0]
            rows = [_file(n, job, owner, dataset) for n, job in enumerate(ids)]
            bulk.insert(tx.connection, schema.file, rows)
            changes: counters.Sums = {}
            for row in rows:
                place = counters.Place("unmerged", owner, "unmerged", row["site"], "")
                counters.change(changes, counters.FILE, place, 1, 10, 100)
            counters.book(tx.connection, changes)
            tx.emit(e.UnmergedRegistered(ids=[row["id"] for row in rows]))

        await self.store.write(unit)

    async def made(self) -> Counter[str]:
        """Return how many merges there are by site."""
        found = await self.store.read(lambda c: jobs.load(c, range(1, 10_000)))
        return Counter(str(job.pinned) for job in found if job.type == "merge")


def _file(n: int, job: int, owner: int, dataset: int) -> dict[str, Any]:
    return {
        "id": n + 1, "lfn": f"/store/{n}", "workflow_id": owner, "job_id": job, "dataset_id": dataset,
        "site": SITES[n % len(SITES)], "size": 100, "events": 10, "adler32": "0" * 8, "sha256": "0" * 64,
        "kind": "unmerged", "state": "unmerged", "created_at": 0.0, "since": 0.0,
    }  # fmt: skip


@asynccontextmanager
async def field(directory: Path, batch: int = 10_000) -> AsyncIterator[Field]:
    store = await Store.open(f"sqlite:///{directory}/agent.db")
    try:
        made = Field(store, directory, batch)
        await made.fill()
        yield made
    finally:
        await store.close()


@pytest.mark.feature("PA-505")
async def test_one_look_takes_in_all_sites_in_one_transaction(tmp_path: Path) -> None:
    async with field(tmp_path) as small:
        commits = small.store.commits
        await small.merge()
        assert small.looks == [len(SITES)]
        assert await small.made() == dict.fromkeys(SITES, EACH // 2)
        assert small.store.commits == commits + 1


@pytest.mark.feature("PA-505")
async def test_a_look_ends_where_it_has_read_enough_and_the_next_goes_on(tmp_path: Path) -> None:
    async with field(tmp_path, batch=2 * EACH) as small:
        await small.merge()
        assert small.looks == [2] * (len(SITES) // 2)
        assert await small.made() == dict.fromkeys(SITES, EACH // 2)


@pytest.mark.feature("PA-508")
async def test_a_file_that_was_taken_spoils_only_its_own_merge(tmp_path: Path, monkeypatch: Any) -> None:
    made = merges.create_all
    refused: list[int] = []

    def refuse(tx: Any, planned: list[merges.Planned]) -> list[int]:
        if any(1 in one.members for one in planned) and len(refused) < 2:
            refused.append(len(planned))
            raise StaleState("file 1 is taken")
        return made(tx, planned)

    monkeypatch.setattr(merges, "create_all", refuse)
    async with field(tmp_path) as small:
        await small.merge()
        assert refused == [len(SITES) * EACH // 2, 1]
        assert small.looks == [len(SITES), 1]
        assert await small.made() == dict.fromkeys(SITES, EACH // 2)

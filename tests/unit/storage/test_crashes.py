"""A writer process that is killed again and again: everything it was told is on disk is there, whole."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from domain.ranges import Range
from domain.spec import Step, WorkflowSpec
from storage import allocations, jobs, laws, workflows
from storage.errors import StoreAway, StoreUnsure
from storage.store import Store
from tests.real.mariadb import MariaServer

ROOT = Path(__file__).parents[3]
KILLS = 15
SERVER_KILLS = 20
WRITER = '''
"""Write pairs that belong together for ever, and say each pair once it is acknowledged."""

import asyncio
import itertools
import sys

from domain.ranges import Range
from domain.spec import Step, WorkflowSpec
from storage import allocations, jobs, workflows
from storage.store import Store


async def main(url: str, start: int) -> None:
    store = await Store.open(url)
    numbers = itertools.count(start)

    async def pairs() -> None:
        for n in numbers:
            spec = WorkflowSpec(name=f"w{n}", events=20, events_per_job=10, steps=[Step(command=["true"])])

            def unit(tx, spec=spec, n=n):
                owner, _ = workflows.add(tx, spec, name=spec.name, sandbox="", events=20)
                identity = allocations.acquire(tx, owner, f"r{n}", Range(1, 20))
                (mine,) = allocations.by_id(tx.connection, [identity])
                jobs.create(tx, mine, spec, [Range(1, 10), Range(11, 10)])

            await store.write(unit)
            sys.stdout.write(f"{n}\\n")
            sys.stdout.flush()

    await asyncio.gather(*(pairs() for _ in range(5)))


asyncio.run(main(sys.argv[1], int(sys.argv[2])))
'''


def run_and_kill(script: Path, url: str, start: int, chance: random.Random) -> list[int]:
    """Start the writer, kill it after some acknowledgements, and return those."""
    command = [sys.executable, str(script), url, str(start)]
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert child.stdout is not None
    told = [int(child.stdout.readline()) for _ in range(chance.randint(1, 30))]
    child.send_signal(signal.SIGKILL)
    with child.stdout:
        told += [int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith(b"\n")]
    assert child.wait(20) == -signal.SIGKILL
    return told


@pytest.mark.timeout(180)
@pytest.mark.feature("PA-007", "PA-009", "PA-022", "REL-01")
async def test_whatever_was_acknowledged_is_there_and_whole(tmp_path, url, outside):
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    told: list[int] = []
    for _ in range(KILLS):
        told += run_and_kill(script, url, max(told, default=0) + 100, chance)
        all_there_and_whole(outside, told, f"seed {seed}")
    store = await Store.open(url)
    breaches = await store.read(lambda c: [*laws.check(c, now=0.0), *laws.damaged(c)])
    await store.close()
    assert breaches == [], f"seed {seed}"


def all_there_and_whole(outside, told, seed):
    """One statement looks, since the writers may be at it."""
    found = outside.rows(
        "SELECT name, count(job.id), (SELECT count(*) FROM event) FROM workflow "
        "LEFT JOIN job ON job.workflow_id = workflow.id GROUP BY workflow.id, name"
    )
    names = {name for name, _, _ in found}
    assert {f"w{n}" for n in told} <= names, f"{seed}: acknowledged and not there"
    assert {jobs for _, jobs, _ in found} == {2}, f"{seed}: half a unit"
    assert {facts for _, _, facts in found} == {4 * len(found)}, f"{seed}: state without facts, or facts without state"


@pytest.mark.timeout(300)
@pytest.mark.feature("PA-007", "PA-009", "PA-022", "REL-01", "REL-09")
async def test_a_server_that_is_killed_again_and_again(tmp_path_factory, clock, outside_of):
    """kill -9 of mariadbd in the middle of commits: units wait it out, none is lost, doubled or half there."""
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    server = MariaServer(tmp_path_factory.mktemp("killed")).install()
    server.start()
    try:
        url = server.make()
        outside = outside_of(url)
        store = await Store.open(url, clock=clock)
        told: list[int] = []
        writing = [asyncio.create_task(pairs(store, range(start, 10**9, 5), told)) for start in range(5)]
        for kill in range(SERVER_KILLS):
            enough = len(told) + chance.randint(1, 60)
            while len(told) < enough:
                await asyncio.sleep(0.001)
            server.kill()
            server.start()
            all_there_and_whole(outside, told[:], f"seed {seed}, kill {kill}")
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        await store.close()
        assert outside.rows("SELECT name FROM workflow GROUP BY name HAVING count(*) > 1") == []
        all_there_and_whole(outside, told, f"seed {seed}")
    finally:
        server.stop()


async def pairs(store, numbers, told):
    """Write pairs that belong together; a database that is away is tried again, as a supervised actor would."""
    for n in numbers:
        spec = WorkflowSpec(name=f"w{n}", events=20, events_per_job=10, steps=[Step(command=["true"])])

        def unit(tx, spec=spec, n=n):
            owner, _ = workflows.add(tx, spec, name=spec.name, sandbox="", events=20)
            identity = allocations.acquire(tx, owner, f"r{n}", Range(1, 20))
            (mine,) = allocations.by_id(tx.connection, [identity])
            jobs.create(tx, mine, spec, [Range(1, 10), Range(11, 10)])

        while True:
            try:
                await store.write(unit)
            except StoreUnsure:
                raise
            except StoreAway:
                continue
            break
        told.append(n)

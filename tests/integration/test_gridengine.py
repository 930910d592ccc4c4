"""What only a real Grid Engine does: errors before the start, limits, ends that only the accounting knows, a dead qmaster."""

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backends.batch.base import BatchError, BatchState, Evidence, JobDescription, JobStatus
from backends.channel.hosts import Hosts
from examples.batch_system.gridengine import GridEngineBatch, GridSettings
from runtime.build import build
from supervisors import SystemClock
from tests.conformance.test_batch import spec
from tests.real.gridengine import GridEngine

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def cell() -> Iterator[GridEngine]:
    with GridEngine(slots=2) as made:
        yield made


@dataclass
class Target:
    cell: GridEngine
    directory: Path
    settings: dict[str, object] = field(default_factory=dict)

    def batch(self, **changed: object) -> GridEngineBatch:
        settings = GridSettings(
            directory=str(self.directory / "site"),
            command_environment=self.cell.environment,
            evidence_s=0.0,
            **{"queue": "main", **changed},  # type: ignore[arg-type]
        )
        return GridEngineBatch(settings, hosts=Hosts({}), runtime=build(self.directory), clock=SystemClock())

    def job(self, token: str, *command: str, **needs: int) -> JobDescription:
        return JobDescription(token=token, spec=spec(token, list(command)), **{"memory_mb": 50, "wall_s": 600, **needs})


@pytest.fixture
def target(cell: GridEngine, tmp_path: Path) -> Target:
    return Target(cell, tmp_path)


async def until(batch: GridEngineBatch, token: str, holds: Callable[[JobStatus], bool]) -> JobStatus:
    async with asyncio.timeout(DEADLINE_S):
        while not holds(status := (await batch.find([token]))[token]):
            await asyncio.sleep(0.1)
    return status


@pytest.mark.feature("PA-301", "PA-310", "PA-315")
async def test_what_it_refuses_and_what_it_holds(target: Target) -> None:
    with pytest.raises(BatchError, match='the phrase "nowhere"') as caught:
        await target.batch(queue="nowhere").open()
    assert not caught.value.transient
    batch = target.batch(extra=("-l", "license=1"))
    (refused,) = await batch.submit([target.job("t1", "true")])
    assert not refused.accepted
    assert not refused.transient
    assert 'unknown resource "license"' in refused.reason
    batch = target.batch()
    await batch.open()
    large, two, long = await batch.submit(
        [
            target.job("t2", "true", memory_mb=10**9),
            target.job("t3", "true", cores=2),
            target.job("t4", "true", wall_s=48 * 3600 + 1),
        ]
    )
    assert "over the limit of the target: memory 1000000000 MB" in large.reason
    assert two.reason == "over the limit of the target: cores 2, at most 1"
    assert long.reason == "over the limit of the target: wall time 172801 s, at most 172800 s"
    target.cell.run("qmod", "-d", "main")
    await batch.submit([target.job("t5", "true")])
    script = target.directory / "site/parcels/t5.sh"
    script.rename(f"{script}.away")
    target.cell.run("qmod", "-e", "main")
    held = await until(batch, "t5", lambda status: status.state is BatchState.HELD)
    assert held.reason == "state Eqw, see qstat -j"
    Path(f"{script}.away").rename(script)
    await batch.release(["t5", "t6"])
    ended = await until(batch, "t5", lambda status: status.state is BatchState.ENDED)
    assert (ended.evidence, ended.exit_code) == (Evidence.SENTINEL, 0)


@pytest.mark.feature("PA-312")
async def test_the_end_of_a_killed_runtime_is_in_the_accounting(target: Target) -> None:
    batch = target.batch()
    await batch.open()
    (taken,) = await batch.submit([target.job("t1", "sleep", "600")])
    await until(batch, "t1", lambda status: status.state is BatchState.RUNNING)
    _, pid, batch_id = os.readlink(target.directory / "site/jobs/t1/t1/run").split(":")
    assert batch_id == taken.batch_id
    os.kill(int(pid), signal.SIGKILL)
    ended = await until(batch, "t1", lambda status: status.state is BatchState.ENDED)
    assert (ended.evidence, ended.signal, ended.exit_code) == (Evidence.ACCOUNTING, 9, None)
    assert ended.node == "localhost"
    assert ended.started_at
    assert ended.ended_at
    assert ended.ended_at >= ended.started_at


@pytest.mark.feature("PA-308", "REL-04")
async def test_a_dead_qmaster_is_a_pause(target: Target) -> None:
    batch = target.batch()
    await batch.open()
    target.cell.run("qmod", "-d", "main")
    await batch.submit([target.job("t1", "true")])
    target.cell.kill("sge_qmaster")
    (later,) = await batch.submit([target.job("t2", "true")])
    assert not later.accepted
    assert later.transient
    with pytest.raises(BatchError, match="qstat does not list") as caught:
        await batch.find(["t1", "t2"])
    assert caught.value.transient
    target.cell.start_qmaster()
    found = await batch.find(["t1", "t2"])
    assert {token: status.state for token, status in found.items()} == {"t1": BatchState.PENDING}
    await batch.cancel(["t1"])
    assert (await batch.find(["t1"]))["t1"].reason == "cancelled"

"""What every batch system must do: the contract of backends/batch/base.py, run against each of them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest

from backends.batch.base import BatchError, BatchState, BatchSystem, JobDescription, JobStatus
from backends.batch.htcondor import CondorBatch, CondorSettings
from backends.batch.local import LocalBatch, LocalSettings
from backends.batch.pilot import PilotBatch, PilotSettings
from backends.batch.simulated import SimulatedBatch
from backends.batch.simulated_model import SimulatedSettings
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.batch.trimming import Trimming
from backends.batch.watching import Watching
from backends.channel.hosts import Hosts
from domain.report import decode_report
from examples.batch_system.gridengine import GridEngineBatch, GridSettings
from runtime.build import build
from supervisors import SystemClock
from tests.real.condor import POOL, SCHEDD, Condor
from tests.real.gridengine import GridEngine
from tests.real.slurm import Slurm

DEADLINE_S = 60.0


class Target(Protocol):
    """One batch system under test, and how its time passes."""

    batch: BatchSystem

    async def settle(self) -> None:
        """Let a little of the target's time pass."""

    def job(self, token: str, behaviour: str = "quick") -> JobDescription:
        """Return a job that is "quick", "slow" (longer than any test) or "bad" (exit code 7 or another failure)."""


def spec(token: str, command: list[str]) -> dict[str, Any]:
    return {
        "schema": 1,
        "token": token,
        "job": 1,
        "type": "processing",
        "workflow": "w",
        "sandbox": None,
        "inputs": [],
        "environment": {},
        "steps": [{"name": "payload", "command": command, "environment": {}}],
        "output": None,
        "concatenate": False,
        "stage_out": [],
        "limits": {"wall_s": 600, "memory_mb": 500},
    }


COMMANDS = {
    "quick": ["true"],
    "slow": ["sh", "-c", "echo hello; exec sleep 600"],
    "bad": ["sh", "-c", "echo broken; exit 7"],
}


class Local:
    def __init__(self, directory: Path) -> None:
        settings = LocalSettings(directory=str(directory / "node"), idle_s=5)
        self.batch: BatchSystem = LocalBatch(settings, runtime=build(directory))

    async def settle(self) -> None:
        await asyncio.sleep(0.01)

    def job(self, token: str, behaviour: str = "quick") -> JobDescription:
        return JobDescription(token=token, spec=spec(token, COMMANDS[behaviour]))


class Pilots:
    """Pilots in slots of a local target."""

    def __init__(self, directory: Path) -> None:
        runtime = build(directory)
        inner = LocalBatch(LocalSettings(directory=str(directory / "node"), slots=2, idle_s=5), runtime=runtime)
        settings = PilotSettings(directory=str(directory / "shared"), over={}, slots=1, max_pilots=2, idle_s=5)
        self.batch: BatchSystem = PilotBatch(
            settings, runtime=runtime, hosts=Hosts({}), clock=SystemClock(), inner=lambda _: inner
        )

    async def settle(self) -> None:
        await asyncio.sleep(0.05)
        await self.batch.poll("-")  # as the tracker does

    def job(self, token: str, behaviour: str = "quick") -> JobDescription:
        return JobDescription(token=token, spec=spec(token, COMMANDS[behaviour]), wall_s=600)


class Hand:
    """A clock wound by hand."""

    now = 0.0

    def time(self) -> float:
        return 1_700_000_000 + self.now

    def monotonic(self) -> float:
        return self.now


class Simulated:
    def __init__(self) -> None:
        self.clock = Hand()
        self.batch: BatchSystem = SimulatedBatch(SimulatedSettings(slots=2, run_s=2), clock=self.clock)

    async def settle(self) -> None:
        self.clock.now += 0.5

    def job(self, token: str, behaviour: str = "quick") -> JobDescription:
        job = JobDescription(token=token, spec=spec(token, ["true"]))
        if behaviour == "bad":
            job = JobDescription(token=token, spec=job.spec, wall_s=1)
        if behaviour == "slow":
            self.batch._settings = SimulatedSettings(slots=2, run_s=80_000, run_sigma=0.0)  # type: ignore[attr-defined]
        return job


class Scheduled:
    """A batch system behind commands: one job goes alone, several as an array."""

    def __init__(self, directory: Path, kind: str, environment: dict[str, str]) -> None:
        here: Any = {"directory": str(directory / "site"), "command_environment": environment, "evidence_s": 5}
        offered: Any = {"hosts": Hosts({}), "runtime": build(directory), "clock": SystemClock()}
        self.batch: BatchSystem
        if kind == "slurm":
            self.batch = SlurmBatch(SlurmSettings(**here), **offered)
        elif kind == "gridengine":
            self.batch = GridEngineBatch(GridSettings(**here, queue="main"), **offered)
        else:
            self.batch = CondorBatch(CondorSettings(**here, schedd=SCHEDD, pool=POOL), **offered)

    async def settle(self) -> None:
        await asyncio.sleep(0.1)

    def job(self, token: str, behaviour: str = "quick") -> JobDescription:
        return JobDescription(token=token, spec=spec(token, COMMANDS[behaviour]), memory_mb=100, wall_s=600)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Slurm]:
    with Slurm(nodes=2) as made:
        yield made


@pytest.fixture(scope="module")
def pool() -> Iterator[Condor]:
    with Condor(slots=2) as made:
        yield made


@pytest.fixture(scope="module")
def cell() -> Iterator[GridEngine]:
    with GridEngine(slots=2) as made:
        yield made


SYSTEMS = {"slurm": "cluster", "htcondor": "pool", "gridengine": "cell"}


@pytest.fixture(params=["local", "pilot", "simulated", *SYSTEMS])
async def target(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Target]:
    made: Target
    if request.param in SYSTEMS:
        system = request.getfixturevalue(SYSTEMS[request.param])
        made = Scheduled(tmp_path, request.param, system.environment)
    else:
        kinds = {"local": Local, "pilot": Pilots}
        made = kinds[request.param](tmp_path) if request.param in kinds else Simulated()
    await made.batch.open()
    yield made
    if request.param in ("local", "pilot"):
        live = [status.token for status in (await made.batch.poll("")).statuses]
        await made.batch.cancel(live)
        await ended(made, *live)
        os.kill(int((tmp_path / "node" / "node.lock").read_text()), signal.SIGTERM)
    await made.batch.close()


async def until(target: Target, happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await happened():
            await target.settle()


async def ended(target: Target, *tokens: str) -> dict[str, JobStatus]:
    async def all_ended() -> bool:
        found = await target.batch.find(tokens)
        return all(found[token].state is BatchState.ENDED for token in tokens)

    await until(target, all_ended)
    return await target.batch.find(tokens)


async def running(target: Target, token: str) -> None:
    async def runs() -> bool:
        return (await target.batch.find([token]))[token].state is BatchState.RUNNING

    await until(target, runs)


@pytest.mark.feature("PA-301", "PA-302", "PA-307", "PA-318")
async def test_a_job_goes_from_submission_to_a_valid_report(target: Target) -> None:
    tokens = [f"t{number}" for number in range(5)]
    verdicts = await target.batch.submit([target.job(token) for token in tokens])
    assert [verdict.token for verdict in verdicts] == tokens
    assert all(verdict.accepted and verdict.batch_id for verdict in verdicts)
    statuses = await ended(target, *tokens)
    assert {status.exit_code for status in statuses.values()} == {0}
    for status in statuses.values():
        assert status.evidence
        assert status.started_at
        assert status.ended_at
        assert status.node
    assert [statuses[verdict.token].batch_id for verdict in verdicts] == [verdict.batch_id for verdict in verdicts]
    reports = {token: decode_report(raw) for token, raw in (await target.batch.fetch(tokens)).items()}
    assert {token: report.token for token, report in reports.items()} == {token: token for token in tokens}
    assert {report.exit_code for report in reports.values()} == {0}


@pytest.mark.feature("PA-301", "PA-308")
async def test_find_knows_what_was_accepted_and_nothing_else(target: Target) -> None:
    assert await target.batch.find(["t0"]) == {}
    await target.batch.submit([target.job("t1")])
    assert set(await target.batch.find(["t0", "t1", "t2"])) == {"t1"}
    await ended(target, "t1")


@pytest.mark.feature("PA-308")
async def test_a_token_submitted_again_is_not_run_again(target: Target) -> None:
    first = await target.batch.submit([target.job("t1")])
    again = await target.batch.submit([target.job("t1")])
    assert again == first
    await ended(target, "t1")
    assert await target.batch.submit([target.job("t1")]) == first
    assert (await target.batch.find(["t1"]))["t1"].state is BatchState.ENDED


@pytest.mark.feature("PA-301")
async def test_poll_tells_each_change_after_its_cursor(target: Target) -> None:
    start = (await target.batch.poll("")).cursor
    await target.batch.submit([target.job("t1"), target.job("t2")])
    seen: dict[str, list[BatchState]] = {"t1": [], "t2": []}
    cursor = start

    async def both_over() -> bool:
        nonlocal cursor
        answer = await target.batch.poll(cursor)
        cursor = answer.cursor
        for status in answer.statuses:
            seen[status.token].append(status.state)
        return all(states and states[-1] is BatchState.ENDED for states in seen.values())

    await until(target, both_over)
    assert (await target.batch.poll(cursor)).statuses == []
    everything = await target.batch.poll("")
    assert everything.complete
    assert {status.token for status in everything.statuses} == {"t1", "t2"}


@pytest.mark.feature("PA-301")
async def test_a_cursor_may_be_used_again_after_a_lost_answer(target: Target) -> None:
    start = (await target.batch.poll("")).cursor
    await target.batch.submit([target.job("t1")])
    await ended(target, "t1")
    first = await target.batch.poll(start)
    again = await target.batch.poll(start)
    assert first.statuses == again.statuses
    assert first.statuses[-1].state is BatchState.ENDED


@pytest.mark.feature("PA-301")
async def test_a_failed_job_says_so_with_its_report(target: Target) -> None:
    await target.batch.submit([target.job("t1", "bad")])
    status = (await ended(target, "t1"))["t1"]
    assert status.exit_code not in (0, None)
    report = decode_report((await target.batch.fetch(["t1"]))["t1"])
    assert report.exit_code
    assert report.errors


@pytest.mark.feature("PA-301")
async def test_cancel_ends_running_and_waiting_jobs(target: Target) -> None:
    tokens = ["t1", "t2", "t3"]
    await target.batch.submit([target.job(token, "slow") for token in tokens])
    await running(target, "t1")
    assert await target.batch.fetch(["t1"]) == {}
    await target.batch.release([*tokens, "unknown"])  # none is held: nothing happens
    await target.batch.cancel([*tokens, "unknown"])
    statuses = await ended(target, *tokens)
    assert {status.reason for status in statuses.values()} == {"cancelled"}
    await target.batch.cancel(tokens)
    assert await target.batch.find(tokens) == statuses


@pytest.mark.feature("PA-301", "PA-324", "PA-325")
async def test_a_running_job_shows_its_heart_and_the_end_of_its_log(target: Target) -> None:
    if not isinstance(target.batch, Watching):
        pytest.skip("what it simulates has no log")
    await target.batch.submit([target.job("t1", "slow"), target.job("t2", "slow")])
    await running(target, "t1")

    async def beats() -> bool:
        shown = await target.batch.watch(["t1", "unknown"], tail=4)  # type: ignore[attr-defined]
        return set(shown) == {"t1"} and shown["t1"].heartbeat is not None and shown["t1"].log_bytes == 6

    await until(target, beats)
    glimpse = (await target.batch.watch(["t1"], tail=4))["t1"]
    assert glimpse.heartbeat is not None
    assert (glimpse.heartbeat.step, glimpse.log) == ("payload", b"llo\n")
    await target.batch.cancel(["t1", "t2"])
    await ended(target, "t1", "t2")
    assert await target.batch.watch(["t1", "t2"]) == {}


@pytest.mark.feature("PA-301", "PA-414")
async def test_an_emptied_directory_still_has_its_report_and_is_not_run_again(target: Target) -> None:
    if not isinstance(target.batch, Trimming):
        pytest.skip("what it simulates has no directories")
    await target.batch.submit([target.job("t1", "bad"), target.job("t2", "slow")])
    await ended(target, "t1")
    assert await target.batch.trim(["t1", "t2", "unknown"], 10**9) == {}
    freed = await target.batch.trim(["t1", "t2", "unknown"], 0)
    assert set(freed) <= {"t1"}
    assert decode_report((await target.batch.fetch(["t1"]))["t1"]).exit_code == 7
    assert (await target.batch.find(["t1"]))["t1"].state is BatchState.ENDED
    await target.batch.cancel(["t2"])
    await ended(target, "t2")
    await target.batch.clean(["t1", "t2"])
    assert await target.batch.find(["t1"]) == {}


@pytest.mark.feature("PA-301")
async def test_clean_forgets_ended_attempts(target: Target) -> None:
    await target.batch.submit([target.job("t1"), target.job("t2", "bad")])
    await ended(target, "t1", "t2")
    await target.batch.clean(["t1", "t2", "unknown"])
    await target.batch.clean(["t1"])
    assert await target.batch.find(["t1", "t2"]) == {}
    assert await target.batch.fetch(["t1", "t2"]) == {}
    assert (await target.batch.poll("")).statuses == []


@pytest.mark.feature("PA-301")
async def test_a_submission_that_is_too_large_is_refused_whole(target: Target) -> None:
    jobs = [target.job(f"t{number}") for number in range(target.batch.capabilities.max_submit + 1)]
    with pytest.raises(BatchError, match="at most") as caught:
        await target.batch.submit(jobs)
    assert not caught.value.transient
    assert await target.batch.find(["t0"]) == {}


@pytest.mark.feature("PA-301")
async def test_open_and_close_may_be_repeated(target: Target) -> None:
    await target.batch.open()
    await target.batch.close()
    await target.batch.close()
    await target.batch.open()
    await target.batch.submit([target.job("t1")])
    await ended(target, "t1")

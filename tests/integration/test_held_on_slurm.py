"""Nodes to keep away from, and held jobs, on a real Slurm."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.batch.base import BatchState, BatchSystem, JobDescription, JobStatus
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.channel.hosts import Hosts
from domain.held import HeldAction, judge
from runtime.build import build
from supervisors import SystemClock
from tests.conformance.test_batch import COMMANDS, spec
from tests.real.slurm import Slurm
from tests.real.sshd import Sshd

HABITS = ("SQUEUE_PARTITION=short", "SBATCH_ARRAY_INX=0-3", "SBATCH_WAIT=1", "SCANCEL_STATE=PENDING", "SQUEUE_SORT=odd")
"""What somebody may have in ~/.bashrc for his own comfort: squeue then hides our jobs, sbatch makes others and waits for them."""


def job(token: str, behaviour: str, *avoid: str) -> JobDescription:
    given = spec(token, COMMANDS[behaviour])
    return JobDescription(token=token, spec=given, memory_mb=100, wall_s=600, avoid_nodes=avoid)


async def seen(batch: BatchSystem, token: str, holds: Callable[[JobStatus], bool]) -> JobStatus:
    """Poll until a token's status is as it should be."""
    async with asyncio.timeout(60):
        while True:
            found = {status.token: status for status in (await batch.poll("")).statuses}
            if token in found and holds(found[token]):
                return found[token]
            await asyncio.sleep(0.2)


@pytest.mark.feature("PA-315", "PA-321", "PA-409")
@pytest.mark.timeout(240)
async def test_a_job_avoids_a_node_and_a_held_one_goes_on_when_it_is_released(tmp_path: Path) -> None:
    with Slurm(nodes=2, cpus=1) as cluster:
        settings = SlurmSettings(
            directory=str(tmp_path / "shared"),
            partition="main",
            command_environment=cluster.environment,
            evidence_s=5.0,
        )
        batch = SlurmBatch(settings, hosts=Hosts({}), runtime=build(tmp_path), clock=SystemClock())
        await batch.open()
        verdicts = await batch.submit([job("t1", "slow", "n1"), job("t2", "slow", "n1")])
        assert all(verdict.accepted for verdict in verdicts)
        running = await seen(batch, "t1", lambda one: one.state is BatchState.RUNNING)
        assert running.node == "n2"
        waiting = await seen(batch, "t2", lambda one: one.state is BatchState.PENDING)
        assert waiting.node == "", "the other node is free, and stays so"
        cluster.run("scontrol", "hold", waiting.batch_id)
        held = await seen(batch, "t2", lambda one: one.state is BatchState.HELD)
        assert held.reason.startswith("JobHeld")
        assert judge(held.reason, (), 0, 3) is HeldAction.LIST, "a person held it, a person decides"
        await batch.release(["t1", "t2", "unknown"])
        await seen(batch, "t2", lambda one: one.state is BatchState.PENDING)
        await batch.cancel(["t1"])
        gone_on = await seen(batch, "t2", lambda one: one.state is BatchState.RUNNING)
        assert gone_on.node == "n2"
        await batch.cancel(["t2"])
        await seen(batch, "t2", lambda one: one.state is BatchState.ENDED)
        await batch.close()


@pytest.mark.feature("PA-303", "PA-305")
@pytest.mark.timeout(240)
async def test_what_an_account_sets_for_its_own_comfort_changes_nothing(tmp_path: Path) -> None:
    with Slurm(nodes=1, cpus=4) as cluster, Sshd(tmp_path / "sshd", options="PermitUserEnvironment yes") as sshd:
        allowed = sshd.directory / "authorized_keys"
        allowed.write_text(",".join(f'environment="{habit}"' for habit in HABITS) + f" {allowed.read_text()}")
        settings = SlurmSettings(
            host="login",
            directory=str(tmp_path / "shared by all"),
            partition="main",
            command_environment=cluster.environment,
            evidence_s=5.0,
        )
        hosts = Hosts({"login": sshd.host()})
        batch = SlurmBatch(settings, hosts=hosts, runtime=build(tmp_path), clock=SystemClock())
        await batch.open()
        verdicts = await batch.submit([job("t1", "slow"), job("t2", "slow")])
        assert all(verdict.accepted for verdict in verdicts)
        for token in ("t1", "t2"):
            await seen(batch, token, lambda one: one.state is BatchState.RUNNING)
        await batch.cancel(["t1", "t2"])
        for token in ("t1", "t2"):
            await seen(batch, token, lambda one: one.state is BatchState.ENDED)
        assert len(cluster.completions()) == 2
        await hosts.close()

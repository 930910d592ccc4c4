"""GPUs, architectures and the options of a type of job, on a real Slurm."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from backends.batch.base import BatchState, JobDescription
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.channel.hosts import Hosts
from domain.job import JobType
from runtime.build import build
from supervisors import SystemClock
from tests.conformance.test_batch import COMMANDS, spec
from tests.real.slurm import Slurm


def job(token: str, kind: str = "processing", **needs: Any) -> JobDescription:
    given = {**spec(token, COMMANDS["slow"]), "type": kind}
    return JobDescription(token=token, spec=given, memory_mb=100, wall_s=600, **needs)


@pytest.mark.feature("PA-303", "PA-310")
@pytest.mark.timeout(240)
async def test_jobs_get_the_nodes_they_ask_for_and_the_options_of_their_type(tmp_path: Path) -> None:
    with Slurm(nodes=2, cpus=2, special="grace") as cluster:
        settings = SlurmSettings(
            directory=str(tmp_path / "shared"),
            partition="main",
            command_environment=cluster.environment,
            architecture_constraint={"aarch64": "grace"},
            extra_for={JobType.MERGE: ("--nice=50",)},
        )
        batch = SlurmBatch(settings, hosts=Hosts({}), runtime=build(tmp_path), clock=SystemClock())
        await batch.open()
        asked = [
            job("g1", gpus=1), job("g2", gpus=1), job("a1", architecture="aarch64"), job("m1", "merge"),
            job("x1", gpus=5),
        ]  # fmt: skip
        verdicts = await batch.submit(asked)
        assert [one.accepted for one in verdicts] == [True, True, True, True, False]
        assert verdicts[-1].reason == "Requested node configuration is not available"
        async with asyncio.timeout(60):
            while True:
                found = {one.token: one for one in (await batch.poll("")).statuses}
                if sum(one.state is BatchState.RUNNING for one in found.values()) == 3:
                    break
                await asyncio.sleep(0.2)
        waits = next(one for one in found.values() if one.state is BatchState.PENDING)
        assert waits.token in ("g1", "g2"), "there is one GPU, and a core beside it is free elsewhere"
        assert {found[name].node for name in {"g1", "g2", "a1"} - {waits.token}} == {"n2"}
        nice = cluster.run("squeue", "-h", "-j", found["m1"].batch_id, "-o", "%y")
        assert nice.strip() == "50"
        await batch.cancel(["g1", "g2", "a1", "m1"])
        await batch.close()

"""Pilots as a target of a whole agent, and in the slots of a real Slurm."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backends.batch.base import BatchState, JobDescription
from backends.batch.pilot import PilotBatch, PilotSettings
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.channel.hosts import Hosts
from config.loader import ConfigError
from domain import events as e
from domain.report import decode_report
from runtime.build import build
from supervisors import SystemClock
from tests.integration.agent import beta, running, workflow
from tests.integration.local_machine import until
from tests.real.slurm import Slurm
from tests.unit.runtime.pythons import interpreters


def pilots(slots: object) -> str:
    """Return the tables of a site whose pilots run over a local batch system with so many slots."""
    over = {"kind": "local", "directory": "beta/batch", "slots": slots, "idle_s": 0.5}
    return beta("beta-pilots", kind="pilot", directory="beta/shared", max_pilots=1, poll_s=0.1, over=over)


@pytest.mark.feature("PA-301", "PA-024")
async def test_a_workflow_runs_in_pilots_like_anywhere(tmp_path: Path) -> None:
    async with running(tmp_path, more=pilots(2)) as agent:
        await agent.submit(workflow(events=45, sites=["beta"]))
        await agent.fact(e.WorkflowsCompleted).reached()
    files = sorted((tmp_path / "gamma/storage").rglob("*.txt"))
    assert sorted(int(line) for path in files for line in path.read_text().split()) == list(range(1, 46))
    journals = b"".join(path.read_bytes() for path in (tmp_path / "beta/batch/journal").iterdir())
    assert b'"tokens":["pilot' in journals


@pytest.mark.feature("PA-301")
async def test_what_is_wrong_with_the_target_below_is_said_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sites\.beta\.targets\.beta-pilots\.over\.slots"):
        async with running(tmp_path, more=pilots("many")):
            raise AssertionError("it started")


@pytest.fixture
def cluster() -> Iterator[Slurm]:
    with Slurm(nodes=2) as made:
        yield made


@pytest.mark.feature("PA-303", "PA-308", "PA-319", "PA-323")
async def test_pilots_in_slurm_slots_run_many_jobs_for_one_submission_each(cluster: Slurm, tmp_path: Path) -> None:
    """And all of them work on the node's own disk, as the site below wants it. What runs there is run by another Python."""
    hosts, clock, runtime = Hosts({}), SystemClock(), build(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    other = {"python": interpreters()[-1], "node_python": interpreters()[-1]}
    node: dict[str, Any] = {"prologue": (f"DISK={disk}",), "scratch": "$DISK", **other}
    site = SlurmSettings(
        directory=str(tmp_path / "site"), command_environment=cluster.environment, evidence_s=2, **node
    )
    inner = SlurmBatch(site, hosts=hosts, runtime=runtime, clock=clock)
    settings = PilotSettings(
        directory=str(tmp_path / "shared"), over={}, max_pilots=2, idle_s=1.0, wall_s=3600.0, **other
    )
    batch = PilotBatch(settings, runtime=runtime, hosts=hosts, clock=clock, inner=lambda _: inner)
    await batch.open()
    marks, places = tmp_path / "marks", tmp_path / "places"
    tokens = [f"t{number:03d}" for number in range(60)]
    spec = {"schema": 1, "job": 1, "type": "processing", "output": None, "limits": {"wall_s": 60}}
    steps = {
        token: [{"name": "p", "command": ["sh", "-c", f"echo {token} >> {marks}; pwd >> {places}"]}] for token in tokens
    }
    jobs = [JobDescription(token=t, spec={**spec, "token": t, "steps": steps[t]}, wall_s=60) for t in tokens]
    assert all(verdict.accepted for verdict in await batch.submit(jobs))

    async def all_over() -> bool:
        await asyncio.sleep(0.2)
        found = {status.token: status.state for status in (await batch.poll("")).statuses}
        return all(found[token] is BatchState.ENDED for token in tokens)

    await until(all_over)
    reports = await batch.fetch(tokens)
    assert {decode_report(raw).exit_code for raw in reports.values()} == {0}
    assert sorted(marks.read_text().split()) == tokens
    assert sorted(places.read_text().split()) == [f"{disk}/prodagent-{token}" for token in tokens]

    async def slots_are_free() -> bool:
        await asyncio.sleep(0.2)
        await batch.poll("")
        return not cluster.run("squeue", "-h")

    await until(slots_are_free)
    assert len(cluster.completions()) <= 3
    assert list(disk.iterdir()) == []
    await batch.close()
    await hosts.close()

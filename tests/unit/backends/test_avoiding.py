"""How a batch system is told of nodes that must not run a job, and how it is asked to release what it holds."""

import pytest

from backends.batch.base import BatchState, JobDescription
from backends.batch.htcondor import Condor, CondorSettings
from backends.batch.scheduled import _needs
from backends.batch.scheduler import Parcel
from backends.batch.simulated import SimulatedBatch
from backends.batch.simulated_model import SimulatedSettings
from backends.batch.slurm import Slurm, SlurmSettings
from supervisors import SystemClock

PLAIN = JobDescription(token="ab12", spec={})
CHOOSY = JobDescription(token="ab13", spec={}, avoid_nodes=("n1", "n2"))


class HandClock:
    now = 0.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.mark.feature("PA-321", "PA-409")
def test_slurm_excludes_nodes_and_releases_held_jobs() -> None:
    slurm = Slurm(SlurmSettings(directory="/shared/x"))
    argv, _ = slurm.submission(Parcel("ab13", (CHOOSY,), "m.ab13", "/x.sh"), "")
    assert "--exclude=n1,n2" in argv
    plain, _ = slurm.submission(Parcel("ab12", (PLAIN,), "m.ab12", "/x.sh"), "")
    assert not [word for word in plain if word.startswith("--exclude")]
    assert slurm.release(["7", "12_3"]) == ["scontrol", "release", "7,12_3"]


@pytest.mark.feature("PA-321", "PA-409")
def test_htcondor_requires_other_machines_and_releases_held_jobs() -> None:
    condor = Condor(CondorSettings(directory="/shared/x", schedd="s"))
    _, text = condor.submission(Parcel("ab13", (CHOOSY,), "m.ab13", "/x.sh"), "")
    assert 'requirements = (Machine != "n1") && (Machine != "n2")\n' in text
    _, plain = condor.submission(Parcel("ab12", (PLAIN,), "m.ab12", "/x.sh"), "")
    assert "requirements" not in plain
    assert condor.release(["7.0"]) == ["condor_release", "-name", "s", "7.0"]


@pytest.mark.feature("PA-310", "PA-321")
def test_jobs_of_other_needs_are_not_handed_over_together() -> None:
    others = [
        CHOOSY,
        JobDescription(token="gpu", spec={}, gpus=1),
        JobDescription(token="arm", spec={}, architecture="aarch64"),
        JobDescription(token="merge", spec={"type": "merge"}),
    ]
    assert len({_needs(one) for one in (PLAIN, *others)}) == 5


@pytest.mark.feature("PA-321", "PA-409")
async def test_the_simulated_cluster_keeps_a_job_waiting_rather_than_run_it_there() -> None:
    clock = HandClock()
    cluster = SimulatedBatch(SimulatedSettings(slots=2, nodes=2, run_s=100.0, run_sigma=0.0), clock=clock)
    avoiding = [JobDescription(token=f"t{n}", spec={}, avoid_nodes=("node-000",)) for n in range(2)]
    await cluster.submit([*avoiding, JobDescription(token="any", spec={})])

    async def nodes() -> dict[str, str]:
        return {one.token: one.node for one in (await cluster.poll("")).statuses if one.state is BatchState.RUNNING}

    assert await nodes() == {"t0": "node-001", "any": "node-000"}
    clock.now = 101.0
    assert await nodes() == {"t1": "node-001"}


@pytest.mark.feature("PA-315")
async def test_a_released_job_of_the_simulated_cluster_runs() -> None:
    cluster = SimulatedBatch(SimulatedSettings(held=1.0, hold_s=0.0), clock=SystemClock())
    await cluster.submit([PLAIN])
    await cluster.release(["ab12", "unknown"])
    (status,) = (await cluster.poll("")).statuses
    assert status.state is BatchState.RUNNING

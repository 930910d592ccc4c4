"""A real Slurm on this machine: jobs handed over by the agent's batch system, against bare loops; and the cost of tracking.

`sbatch loop` is what a shell script would do, one job per call; `array` is one call for all. Both leave out what the agent
does besides: directories, specifications, marks. Tracking is measured on the view of a queue of 100,000 live jobs, of
which one in a hundred changes from one listing to the next (PA-311: below 1 s of CPU), and on the simulated target.
"""

import asyncio
import resource
import shutil
import tempfile
import time
from pathlib import Path

from backends.batch.base import JobDescription
from backends.batch.queue_view import QueueView
from backends.batch.scheduler import Said
from backends.batch.simulated import SimulatedBatch
from backends.batch.simulated_model import SimulatedSettings
from backends.batch.slurm import Slurm as Words
from backends.batch.slurm import SlurmBatch, SlurmSettings
from backends.channel.hosts import Hosts
from bench.local_jobs import specification
from runtime.build import build
from supervisors import SystemClock
from tests.real.slurm import Slurm

JOBS = 200
LIVE = 100_000
CHANGED = 1_000


def measure(scale: float = 1.0) -> dict[str, float]:
    """Return the figures; rates in jobs per second, costs in seconds of CPU."""
    jobs, live = max(20, int(JOBS * scale)), max(1000, int(LIVE * scale))
    figures = _tracking(live)
    figures |= asyncio.run(_simulated(live))
    with Slurm(nodes=2) as cluster, tempfile.TemporaryDirectory() as directory:
        cluster.run("scontrol", "update", "PartitionName=main", "State=DOWN")  # what waits costs the machine nothing
        rates = {"sbatch loop": _loop(cluster, jobs), "array": _array(cluster, jobs)}
        for name, array_max in (("agent, each alone", 1), ("agent, arrays", 500)):
            rates[name] = asyncio.run(_agent(cluster, Path(directory) / str(array_max), jobs, array_max))
    figures |= {f"{name}, jobs/s": rate for name, rate in rates.items()}
    figures["agent, each alone / sbatch loop"] = rates["agent, each alone"] / rates["sbatch loop"]
    figures["agent, arrays / sbatch loop"] = rates["agent, arrays"] / rates["sbatch loop"]
    return figures


def _loop(cluster: Slurm, jobs: int) -> float:
    begun = time.monotonic()
    for _ in range(jobs):
        cluster.run("sbatch", "--parsable", "--output=/dev/null", "--chdir=/", "--wrap=true")
    return jobs / (time.monotonic() - begun)


def _array(cluster: Slurm, jobs: int) -> float:
    begun = time.monotonic()
    cluster.run("sbatch", "--parsable", "--output=/dev/null", "--chdir=/", f"--array=0-{jobs - 1}", "--wrap=true")
    return jobs / (time.monotonic() - begun)


async def _agent(cluster: Slurm, directory: Path, jobs: int, array_max: int) -> float:
    settings = SlurmSettings(
        directory=str(directory / "site"), command_environment=cluster.environment, array_max=array_max
    )
    batch = SlurmBatch(settings, hosts=Hosts({}), runtime=build(directory), clock=SystemClock())
    await batch.open()
    wanted = [
        JobDescription(token=f"{number:032x}", spec=specification(f"{number:032x}", number), memory_mb=100, wall_s=600)
        for number in range(jobs)
    ]
    begun = time.monotonic()
    verdicts = await batch.submit(wanted)
    taken = time.monotonic() - begun
    assert all(verdict.accepted for verdict in verdicts), verdicts[0]
    return jobs / taken


def _tracking(live: int) -> dict[str, float]:
    """Return the cost of one listing, agent's side: raw text in, changes out."""
    words = Words(SlurmSettings(directory="/x"))
    view = QueueView(words.listed, time.monotonic, 60.0)
    lines = [f"{number}|N/A|PENDING||{number:032x}|Priority" for number in range(live)]
    view.take(words.records(Said(0, "\n".join(lines))), [])
    cursor = view.since("").cursor
    for number in range(0, live, max(1, live // CHANGED)):
        lines[number] = f"{number}|N/A|RUNNING|n1|{number:032x}|None"
    text = "\n".join(lines)
    begun = _cpu()
    view.take(words.records(Said(0, text)), [])
    changes = len(view.since(cursor).statuses)
    spent = _cpu() - begun
    return {"live jobs listed": live, "of which changed": changes, "CPU s for a listing": spent}


async def _simulated(live: int) -> dict[str, float]:
    batch = SimulatedBatch(SimulatedSettings(slots=live // 2, run_s=1e6), clock=SystemClock())
    names = [f"{number:032x}" for number in range(live)]
    begun = time.monotonic()
    for first in range(0, live, 1000):
        part = [JobDescription(token=name, spec={}) for name in names[first : first + 1000]]
        await batch.submit(part)
    rate = live / (time.monotonic() - begun)
    cursor = (await batch.poll("")).cursor
    spent = _cpu()
    await batch.poll(cursor)
    changes = _cpu() - spent
    spent = _cpu()
    await batch.poll("")
    return {
        "simulated target, jobs/s": rate,
        "simulated, CPU s for the changes": changes,
        "simulated, CPU s for all": _cpu() - spent,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    assert shutil.which("sbatch"), "no sbatch on this machine: sh .ci/system installs slurm-wlm"
    for key, value in measure().items():
        print(f"{key:40} {value:14,.3f}")

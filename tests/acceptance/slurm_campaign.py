"""Run a campaign on a throw-away Slurm behind a real sshd while everything is killed at random, and judge what it leaves.

Also a program: `python -m tests.acceptance.slurm_campaign --faults 200 --seed 1`. The judge is Slurm's own job completion
log beside what the payloads themselves wrote down: a token that ran twice, or two batch jobs for one token, stand there.
"""

import argparse
import asyncio
import collections
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.acceptance.campaign import Campaign
from tests.real.slurm import Slurm
from tests.real.sshd import Sshd

CONFIG = """
[agent]
name = "campaign"
log_level = "warning"

[admin]
port = 0

[tracker]
grace_s = 4.0
lost_s = 6.0
compare_s = 1.0
call_deadline_s = 20.0

[queue]
lease_s = 300.0

[hosts.cluster]
address = "127.0.0.1"
port = {port}
user = "{user}"
identity_files = ["{identity}"]
known_hosts = "{known_hosts}"
ssh_config = "/dev/null"
calls_per_hour = 100000
retry_base_s = 0.2
retry_cap_s = 1.0
refused_s = 1.0
keepalive_s = 2.0
connect_s = 5.0

[sites.alpha.storage]
kind = "posix"
root = "alpha/storage"

[sites.alpha.targets.alpha-slurm]
kind = "slurm"
host = "cluster"
directory = "{site}"
command_environment = {{ SLURM_CONF = "{conf}" }}
array_max = {array_max}
evidence_s = 3.0
poll_s = 0.5
limits = {{ processing = {width}, merge = 8 }}

[sites.gamma.storage]
kind = "posix"
root = "gamma/storage"

[cleanup]
sweep_s = 1.0

[transfer]
retry_base_s = 0.5
"""


@dataclass
class Outcome:
    """What a campaign came to. `faults` by what was killed, `runs` are "job token" of each payload that ran."""

    faults: collections.Counter[str]
    seconds: float
    delivered: list[str]
    runs: list[str]
    batch_jobs: dict[str, list[str]] = field(default_factory=dict)
    verified: bool = False
    verification: object = None
    connections: int = 0
    log: str = ""

    @property
    def submitted_twice(self) -> dict[str, list[str]]:
        """Names (not of arrays) with more than one id in Slurm's own log.

        The same id twice is Slurm's doing: a slurmctld that is killed before it has saved that a job ended ends it again,
        or even starts it again, after which the job finds its token taken.
        """
        return {name: ids for name, ids in self.batch_jobs.items() if len(set(ids)) > 1 and "prodagent-" not in name}

    @property
    def told_twice(self) -> int:
        """How many ids Slurm's own log has more than once."""
        return sum(len(ids) - len(set(ids)) for ids in self.batch_jobs.values())

    @property
    def doubled(self) -> list[str]:
        """Tokens whose payload ran twice."""
        ran = collections.Counter(line.split()[1] for line in self.runs)
        return [token for token, times in ran.items() if times > 1]


class Storm:
    """Kills at random, and brings back what it killed."""

    def __init__(self, campaign: Campaign, cluster: Slurm, sshd: Sshd, *, accounting: bool) -> None:
        self.campaign, self.cluster, self.sshd = campaign, cluster, sshd
        self.faults: collections.Counter[str] = collections.Counter()
        chance = campaign.chance
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "agent": self._agent,
            "sshd": self._sshd,
            "network": self._network,
            "slurmctld": lambda: self._daemon("slurmctld", chance.uniform(0, 1.5)),
            "slurmd": lambda: self._daemon(chance.choice(cluster.nodes), chance.uniform(0, 1)),
        }
        if accounting:
            self._kinds["slurmdbd"] = lambda: self._daemon("slurmdbd", chance.uniform(0, 1))

    async def strike(self) -> None:
        kind = self.campaign.chance.choice(list(self._kinds))
        self.faults[kind] += 1
        await self._kinds[kind]()

    async def _agent(self) -> None:
        await self.campaign.kill()
        await self.campaign.start()

    async def _sshd(self) -> None:
        self.sshd.kill()
        await asyncio.sleep(self.campaign.chance.uniform(0, 0.5))
        await asyncio.to_thread(self.sshd.start)

    async def _network(self) -> None:
        """Silence, and then either it goes on or the connection is gone."""
        self.sshd.freeze()
        await asyncio.sleep(self.campaign.chance.uniform(0.2, 2.0))
        if self.campaign.chance.random() < 0.5:
            self.sshd.thaw()
        else:
            self.sshd.kill()
            await asyncio.to_thread(self.sshd.start)

    async def _daemon(self, name: str, away_s: float) -> None:
        await asyncio.to_thread(self.cluster.kill, name)
        await asyncio.sleep(away_s)
        await asyncio.to_thread(self.cluster.restart, name)


async def run(
    directory: Path,
    *,
    jobs: int,
    faults: int,
    seed: int,
    array_max: int = 1,
    accounting: bool = False,
    lives_s: tuple[float, float] = (0.5, 3.0),
) -> Outcome:
    """Run the campaign: `faults` times something is killed after a random while; then it may finish."""
    begun = time.monotonic()
    async with AsyncExitStack() as stack:
        cluster = stack.enter_context(Slurm(nodes=2, cpus=4, accounting=accounting, min_job_age=30))
        sshd = stack.enter_context(Sshd(directory / "ssh"))
        reached = sshd.host()
        values = {
            "port": sshd.port,
            "user": reached.user,
            "identity": sshd.identity,
            "known_hosts": sshd.known_hosts,
            "site": directory / "site",
            "conf": cluster.environment["SLURM_CONF"],
            "array_max": array_max,
            "width": 24,
        }
        campaign = Campaign(directory, jobs=jobs, seed=seed, sleep_s=0.2, configuration=CONFIG.format(**values))
        storm = Storm(campaign, cluster, sshd, accounting=accounting)
        await campaign.start()
        stack.push_async_callback(campaign.stop)
        await campaign.submit()
        for _ in range(faults):
            await asyncio.sleep(campaign.chance.uniform(*lives_s))
            await storm.strike()
        await campaign.finish(780 + jobs)  # many forgotten jobs open the site's breaker, for 600 s
        code, text = await campaign.command("verify", "--deep", "--json")
        outcome = Outcome(
            storm.faults,
            time.monotonic() - begun,
            campaign.delivered(),
            campaign.ran.read_text().splitlines(),
            verified=code == 0,
            verification=text,
            connections=sshd.accepted(),
            log=campaign.log.read_text(),
        )
        for line in await asyncio.to_thread(cluster.completions):
            outcome.batch_jobs.setdefault(line["Name"], []).append(line["JobId"])
    return outcome


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--jobs", type=int, default=0, help="default: three for each fault")
    parser.add_argument("--array-max", type=int, default=1, help="jobs per array; 1: each alone")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    jobs = options.jobs or max(60, 3 * options.faults)
    print(f"{jobs} jobs, {options.faults} faults, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="campaign-") as directory:
        outcome = asyncio.run(
            run(
                Path(directory),
                jobs=jobs,
                faults=options.faults,
                seed=options.seed,
                array_max=options.array_max,
                accounting=True,
            )
        )
    expected = sorted(f"event {number}" for number in range(1, jobs * 10 + 1))
    exact = sorted(outcome.delivered) == expected
    print(json.dumps(dict(outcome.faults)), f"{outcome.seconds:.0f} s, {outcome.connections} connections")
    print(
        f"{len(outcome.delivered)} events delivered of {jobs * 10}, {len(outcome.batch_jobs)} names in Slurm's own log"
    )
    print(f"payloads run twice: {outcome.doubled}, tokens submitted twice: {outcome.submitted_twice}")
    print(f"ids that Slurm's own log has twice: {outcome.told_twice}, verified: {outcome.verified}")
    sys.exit(0 if exact and not outcome.doubled and not outcome.submitted_twice and outcome.verified else 1)


if __name__ == "__main__":
    main()

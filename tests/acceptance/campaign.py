"""Run a campaign of plain jobs while the agent is killed at random, and judge what it leaves.

Also a program: `python -m tests.acceptance.campaign --kills 1000 --seed 1`.
"""

import argparse
import asyncio
import collections
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from services.console.exits import Exit  # noqa: E402
from tests.acceptance.harm import FalseClock, Harm, small_disk  # noqa: E402
from tests.real.mariadb import PASSWORD, MariaServer  # noqa: E402

CONFIG = """
[agent]
name = "campaign"
store = "STORE"
log_level = "warning"

[admin]
port = 0

[sites.alpha.storage]
kind = "posix"
root = "alpha/storage"

[sites.alpha.targets.alpha-local]
kind = "local"
directory = "alpha/batch"
hold_failure_s = 0
slots = 2
idle_s = 2.0
poll_s = 0.2
limits = { processing = 20, merge = 4 }

[sites.beta.storage]
kind = "posix"
root = "beta/storage"

[sites.beta.targets.beta-local]
kind = "local"
directory = "beta/batch"
hold_failure_s = 0
slots = 2
idle_s = 2.0
poll_s = 0.2
limits = { processing = 20, merge = 4 }

[sites.gamma.storage]
kind = "posix"
root = "gamma/storage"

[cleanup]
sweep_s = 1.0

[transfer]
retry_base_s = 0.5
"""

WORKFLOW = """
name = "campaign"
events = {events}
events_per_job = {per_job}
deliver_to = ["gamma"]

[[steps]]
command = ["sh", "-c", "sleep {sleep}; seq -f 'event %.0f' {{first_event}} {{last_event}} > \\"{{output}}\\"; echo {{job}} {{token}} >> {ran}"]

[merge]
max_events = {merged}
min_fraction = 1.0

[retry]
base_s = 0.2
cap_s = 1.0
infrastructure = 50
"""


@dataclass
class Outcome:
    """What a campaign came to."""

    harm: collections.Counter[str]
    seconds: float
    delivered: list[str]
    runs: list[str]
    verification: dict[str, object]
    verified: bool
    log: str


PATIENCE_S = 60.0
AT_WORK = 0.7
"""The share of harm that waits until the agent works: on a busy machine all else would meet one that is still starting."""


class Hang(AssertionError):
    """A command did not end."""


class Campaign:
    """One agent in a directory of its own."""

    def __init__(
        self,
        directory: Path,
        *,
        jobs: int,
        per_job: int = 10,
        seed: int = 0,
        sleep_s: float = 0.0,
        configuration: str = CONFIG,
        store: str = "sqlite:///state/agent.db",
        environment: dict[str, str] | None = None,
    ) -> None:
        self.directory = directory
        self.events = jobs * per_job
        self.chance = random.Random(seed)
        self.config = directory / "agent.toml"
        self.workflow = directory / "workflow.toml"
        self.ran = directory / "ran.txt"
        self.log = directory / "agent.log"
        self.config.write_text(configuration.replace("STORE", store, 1))
        values = {"sleep": sleep_s, "events": self.events, "per_job": per_job, "merged": 25 * per_job, "ran": self.ran}
        self.workflow.write_text(WORKFLOW.format(**values))
        self.hangs: list[str] = []
        self.environment = {**os.environ, "PYTHONFAULTHANDLER": "1", **(environment or {})}
        self._agent: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._agent = await asyncio.create_subprocess_exec(
                sys.executable,
                ROOT / "run_agent.py",
                "run",
                "--config",
                self.config,
                stdout=log,
                stderr=log,
                env=self.environment,
            )

    async def kill(self) -> None:
        """As a power cut of this one process."""
        await self.revive()
        assert self._agent is not None
        self.signal(signal.SIGKILL)
        await self._agent.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it to the agent, if it lives."""
        assert self._agent is not None
        with suppress(ProcessLookupError):
            self._agent.send_signal(number)

    async def revive(self, *, after_death: bool = False) -> None:
        """Start an agent again that ended because its store was away at the start, as a service manager does; `after_death`:
        also one that had to end because it had nothing to live on."""
        assert self._agent is not None
        if self._agent.returncode is not None:
            assert after_death or self._agent.returncode == Exit.NO_STORE, self.log.read_text()[-4000:]
            await self.start()

    @property
    def pid(self) -> int:
        assert self._agent is not None
        return self._agent.pid

    async def stop(self) -> int:
        assert self._agent is not None
        if self._agent.returncode is None:
            self._agent.send_signal(signal.SIGTERM)
        return await self._agent.wait()

    async def command(self, *words: str) -> tuple[int, str]:
        """Give a command of run_agent.py; return its exit code and output. One that hangs tells where."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            ROOT / "run_agent.py",
            *words,
            "--config",
            self.config,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=self.environment,
        )
        answer = asyncio.ensure_future(process.communicate())
        done, _ = await asyncio.wait([answer], timeout=PATIENCE_S)
        if not done:
            process.send_signal(signal.SIGABRT)
        out, err = await answer
        if not done:
            raise Hang(f"{' '.join(words)} took more than {PATIENCE_S} s:\n{err.decode()}")
        return process.returncode or 0, out.decode() + err.decode()

    async def submit(self) -> None:
        """Submit until the agent has taken it; the agent may be dead or new, and taking it twice changes nothing."""
        for _ in range(100):
            code, text = await self.command("submit", str(self.workflow))
            if code == 0:
                return
            if code != 3:
                raise AssertionError(f"submit ended with {code}: {text}")
            await asyncio.sleep(0.1)
        raise AssertionError(f"the agent took no workflow: {self.log.read_text()[-2000:]}")

    async def state(self) -> tuple[str, int]:
        """Return the workflow's state and how many of its events are delivered, from the store."""
        try:
            code, text = await self.command("status", "--json")
        except Hang as hang:
            self.hangs.append(str(hang))
            if len(self.hangs) > 1:
                raise
            print(hang, file=sys.stderr)
            return "unknown", 0
        if code != 0:
            return "unknown", 0
        for workflow in json.loads(text)["workflows"]:
            return str(workflow["state"]), int(workflow["delivered"])
        return "absent", 0

    async def ready(self) -> None:
        """Wait until the agent that was started last, or the next one if its store was away, serves its page."""
        for _ in range(1200):
            if self._serves():
                return
            await self.revive()
            await asyncio.sleep(0.05)
        raise AssertionError(f"the agent is not ready: {self.log.read_text()[-4000:]}")

    def _serves(self) -> bool:
        told = self.directory / "state/agent.json"
        return (
            self._agent is not None
            and told.exists()
            and f'"pid":{self._agent.pid},' in told.read_text().replace(" ", "")
        )

    def delivered(self) -> list[str]:
        """Return the lines of all delivered files."""
        files = sorted((self.directory / "gamma/storage").rglob("*.txt"))
        return [line for path in files for line in path.read_text().splitlines()]

    async def until_ran(self, count: int) -> None:
        """Wait until so many payloads have run."""
        await self._until(
            lambda: self.ran.exists() and len(self.ran.read_text().splitlines()) >= count, f"not {count} payloads ran"
        )

    async def until_completed(self) -> None:
        for _ in range(300):
            if (await self.state())[0] == "completed":
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"not complete: {await self.state()}\n{self.log.read_text()[-4000:]}")

    async def finish(self, patience_s: float) -> None:
        """Wait until the workflow is complete, with an agent that lives."""
        deadline = time.monotonic() + patience_s
        while (await self.state())[0] != "completed":
            await self.revive()
            if time.monotonic() > deadline:
                _, table = await self.command("jobs", "--json")
                told = f"{await self.state()}\n{table[-3000:]}\n{self.log.read_text()[-4000:]}"
                raise AssertionError(f"not complete in time: {told}")
            await asyncio.sleep(0.3)

    async def _until(self, holds: Callable[[], bool], failure: str) -> None:
        for _ in range(600):
            if holds():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{failure}: {self.log.read_text()[-4000:]}")

    async def end_daemons(self) -> None:
        """Wait for the node daemons, which outlive the agent, to end for want of work."""
        for lock in self.directory.glob("*/batch/node.lock"):
            for _ in range(200):
                if not lock_is_held(lock):
                    break
                await asyncio.sleep(0.1)


def lock_is_held(lock: Path) -> bool:
    import fcntl

    with lock.open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


async def run(
    directory: Path,
    *,
    jobs: int,
    kills: int,
    seed: int,
    lives_s: tuple[float, float] = (0.3, 1.5),
    server: MariaServer | None = None,
    all_harm: bool = False,
) -> Outcome:
    """Run the campaign: `kills` times the agent lives for a random while and is killed; then it may finish.

    :param server: the store is there, and each time the agent, the server or both are killed
    :param all_harm: besides, processes are stopped for a while, the disk is full or read-only, the clock is wrong; takes root
    """
    store = {"store": server.reference(server.make())} if server else {}
    async with AsyncExitStack() as stack:
        clock = stack.enter_context(FalseClock(directory)) if all_harm else None
        if all_harm:
            stack.enter_context(small_disk(directory / "state"))
        campaign = Campaign(directory, jobs=jobs, seed=seed, environment=clock.environment if clock else {}, **store)
        harm = Harm(campaign, server, clock)
        begun = time.monotonic()
        await campaign.start()
        stack.push_async_callback(campaign.end_daemons)
        stack.push_async_callback(campaign.stop)
        await campaign.submit()
        await _strike(campaign, harm, kills, lives_s)
        await campaign.finish(120 + jobs / 5)
        code, text = await campaign.command("verify", "--deep", "--json")
        return Outcome(
            harm.done,
            time.monotonic() - begun,
            campaign.delivered(),
            campaign.ran.read_text().splitlines(),
            json.loads(text) if text.startswith("{") else {"text": text},
            code == 0,
            campaign.log.read_text(),
        )


async def _strike(campaign: Campaign, harm: Harm, kills: int, lives_s: tuple[float, float]) -> None:
    """Let the agent live for a random while and do harm, so many times."""
    begun = time.monotonic()
    for number in range(1, kills + 1):
        if campaign.chance.random() < AT_WORK:
            await campaign.ready()
        await asyncio.sleep(campaign.chance.uniform(*lives_s))
        await harm.strike()
        if number % 50 == 0:
            payloads = len(campaign.ran.read_text().splitlines()) if campaign.ran.exists() else 0
            print(f"{time.monotonic() - begun:.0f} s: {number} times, {payloads} payloads ran", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=0, help="default: five for each kill")
    parser.add_argument("--mariadb", action="store_true", help="on a throw-away MariaDB, which is killed too")
    parser.add_argument("--all-harm", action="store_true", help="stop, fill, forbid and set clocks wrong too (root)")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    options = parser.parse_args()
    jobs = options.jobs or max(200, 5 * options.kills)
    print(f"{jobs} jobs, {options.kills} kills, seed {options.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="campaign-") as directory:
        server = MariaServer(Path(directory) / "mariadb").install() if options.mariadb else None
        os.environ["STORE_PASSWORD"] = PASSWORD
        try:
            if server:
                server.start()
            what = {"kills": options.kills, "seed": options.seed, "all_harm": options.all_harm}
            outcome = asyncio.run(run(Path(directory), jobs=jobs, server=server, **what))
        finally:
            if server:
                server.stop()
    expected = [f"event {number}" for number in range(1, jobs * 10 + 1)]
    exact = sorted(outcome.delivered) == sorted(expected)
    doubled = len(outcome.runs) - len(set(outcome.runs))
    print(f"{json.dumps(outcome.harm)}, {outcome.seconds:.0f} s, {len(outcome.delivered)} events delivered")
    print(f"tokens run twice: {doubled}, verified: {outcome.verified}")
    sys.exit(0 if exact and not doubled and outcome.verified else 1)


if __name__ == "__main__":
    main()

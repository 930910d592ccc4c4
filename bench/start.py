"""From `kill -9` to the first new fact, by phase: how long an agent takes to come back (REL-07, REL-13).

The agent is `run_agent.py run` itself, killed in the middle of its work and started again at once: one with 400 jobs of a real
local batch system, and one with a store of a million jobs at simulated sites. The peer of each phase is the whole.
"""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from bench.filling import plan
from bench.lifecycle import HEAD, SITE, SQLITE
from bench.queries import SITES, filled
from services.console.exits import Exit
from tests.acceptance.campaign import CONFIG, ROOT, WORKFLOW

ROUNDS = 20
PATIENCE_S = 120.0
LIVES_S = (0.2, 1.0)
"""How long an agent goes on after its first fact until it is killed, in seconds."""
ARCHIVE = '[sites.archive.storage]\nkind = "memory"\n[sites.archive.targets]\n'
SAID = {"imported": "begins", "opened": "has its store", "ready": "is ready"}
"""Phases by what the log says at their end."""


class Return(NamedTuple):
    """One start: seconds from its beginning to the end of each phase, of the clock and of the process's CPU.

    `seen_cpu_s`: CPU until the first fact was seen, when all actors run."""

    imported_s: float
    imported_cpu_s: float
    opened_s: float
    opened_cpu_s: float
    ready_s: float
    ready_cpu_s: float
    first_fact_s: float
    seen_cpu_s: float


class Agent:
    """An agent in a directory of its own, killed and started again."""

    def __init__(self, directory: Path, configuration: str) -> None:
        self.log = directory / "agent.log"
        self.store = directory / "state" / "agent.db"
        self.config = directory / "agent.toml"
        self.config.write_text(configuration)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.log.unlink(missing_ok=True)
        words = [sys.executable, str(ROOT / "run_agent.py"), "run", "--config", str(self.config)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(words, stdout=log, stderr=log)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def command(self, *words: str) -> int:
        told = [sys.executable, str(ROOT / "run_agent.py"), *words, "--config", str(self.config)]
        return subprocess.run(told, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode

    def last_fact(self) -> int:
        """Return the id of the last fact, 0 while there is no store."""
        found = self._ask("SELECT max(id) FROM event")
        return int(found[0] or 0) if found else 0

    def returned(self) -> Return:
        """Start, and wait for the first fact that is not in the store yet."""
        last = self.last_fact()
        begun = time.time()
        self.start()
        first = self._first_after(last)
        assert self._process is not None
        cpu = _cpu(self._process.pid)
        ends: dict[str, float] = {}
        for phase, words in SAID.items():
            line = next(line for line in self.log.read_text().splitlines() if words in line)
            ends[f"{phase}_s"] = _at(line) - begun
            ends[f"{phase}_cpu_s"] = float(line.split()[-4])
        return Return(first_fact_s=first - begun, seen_cpu_s=cpu, **ends)

    def _first_after(self, last: int) -> float:
        """Return when the first fact after one was written (UTC epoch seconds)."""
        assert self._process is not None
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise AssertionError(f"the agent has ended: {self.log.read_text()[-2000:]}")
            if SAID["ready"] in self.log.read_text():  # a reader that comes sooner would mend the log in its place
                found = self._ask(f"SELECT at FROM event WHERE id > {last} ORDER BY id LIMIT 1")
                if found:
                    return float(found[0])
            time.sleep(0.02)
        raise AssertionError(f"no fact in {PATIENCE_S} s: {self.log.read_text()[-2000:]}")

    def _ask(self, query: str) -> tuple[float, ...] | None:
        if not self.store.exists():
            return None
        with contextlib.closing(sqlite3.connect(f"file:{self.store}?mode=ro", uri=True, timeout=5.0)) as reader:
            found: tuple[float, ...] | None = reader.execute(query).fetchone()
            return found


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process so far: https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _at(line: str) -> float:
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()  # noqa: DTZ007  # the log has local time


def returns(agent: Agent, rounds: int) -> list[Return]:
    """Kill an agent that is at work again and again."""
    chance = random.Random(1)
    found = []
    for _ in range(rounds):
        time.sleep(chance.uniform(*LIVES_S))
        agent.kill()
        found.append(agent.returned())
    return found


@contextlib.contextmanager
def campaign(directory: Path, jobs: int) -> Iterator[Agent]:
    """Run jobs of half a second in a local batch system, which goes on while the agent is dead."""
    agent = Agent(directory, CONFIG.replace("STORE", SQLITE).replace('"warning"', '"info"'))
    workflow = directory / "workflow.toml"
    values = {"sleep": 0.5, "events": 10 * jobs, "per_job": 10, "merged": 250, "ran": directory / "ran.txt"}
    workflow.write_text(WORKFLOW.format(**values))
    agent.start()
    try:
        while agent.command("submit", str(workflow)) != Exit.OK:
            time.sleep(0.2)
        yield agent
    finally:
        agent.stop()


@contextlib.contextmanager
def large(directory: Path, filled_store: Path) -> Iterator[Agent]:
    """Go on with a copy of a filled store, whose sites are simulated."""
    sites = "".join(SITE.format(n=n, slots=2000, success=1.0, poll_s=1.0) for n in range(SITES))
    agent = Agent(directory, HEAD.format(store=SQLITE) + sites + ARCHIVE)
    agent.store.parent.mkdir()
    shutil.copy(filled_store, agent.store)
    agent.returned()
    try:
        yield agent
    finally:
        agent.kill()


def figures(name: str, found: list[Return]) -> dict[str, float]:
    """Return median and worst of each phase."""
    columns = {phase: [getattr(one, phase) for one in found] for phase in Return._fields}
    medians = {f"{name}_{phase}_median": statistics.median(values) for phase, values in columns.items()}
    return medians | {f"{name}_first_fact_s_max": max(columns["first_fact_s"]), f"{name}_starts": float(len(found))}


def measure(scale: float = 1.0, keep: Path | None = None, rounds: int = ROUNDS) -> dict[str, float]:
    """Measure both; `scale` times a million jobs in the large store, which lies in `keep`, made if it is not there."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=keep) as scratch:
        count = int(1_000_000 * scale)
        store = (keep or Path(scratch)) / f"filled-{count}.db"
        if not store.exists():
            asyncio.run(filled(store, plan(count, SITES)))
        for name in ("campaign", "large"):
            (Path(scratch) / name).mkdir()
        with campaign(Path(scratch) / "campaign", 400) as agent:
            found = figures("jobs_400", returns(agent, rounds))
        with large(Path(scratch) / "large", store) as agent:
            return found | figures(f"jobs_{count}", returns(agent, rounds))

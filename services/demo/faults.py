"""Things that go wrong on purpose: how each is brought about, and what the agent's records say was done about it."""

import asyncio
import os
import random
import signal
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import ClassVar

from domain.events import all_events
from domain.file import FileKind, FileState
from domain.job import AT_TARGET
from services.demo import records
from services.demo.place import WORKERS
from services.demo.processes import all_pids, arguments
from services.demo.scene import Scene
from storage import log, views

WORKING = ("idle", "busy")
RESTART_S = 20.0
"""An actor that has crashed is expected back within this time."""


class Fault:
    """One thing that goes wrong when the progress of the run has reached `moment` (0 to 1)."""

    what: ClassVar[str]

    def __init__(self, moment: float, chance: random.Random) -> None:
        self.moment = moment
        self.chance = chance
        self.at = 0.0
        self.done = ""
        """What was done to the system, empty until then."""

    async def inject(self, scene: Scene) -> bool:
        """Bring it about; False if there is no occasion now."""
        raise NotImplementedError

    async def answer(self, scene: Scene) -> str:
        """What was done about it, from the agent's records; empty if they show nothing."""
        raise NotImplementedError


class AgentKilled(Fault):
    """The agent dies by SIGKILL in the middle of whatever it does, and is started again."""

    what = "agent killed"

    def __init__(self, moment: float, chance: random.Random) -> None:
        super().__init__(moment, chance)
        self._jobs: list[int] = []
        self._last = 0

    async def inject(self, scene: Scene) -> bool:
        if not scene.admin.announced():
            return False
        await asyncio.sleep(self.chance.uniform(0.0, 0.5))
        under_way = await scene.store.read(lambda c: views.jobs(c, states=list(AT_TARGET), limit=1000))
        pid = scene.agent.pid
        scene.restarting = True
        await scene.agent.kill()
        self.at = time.time()
        self._last = await scene.store.read(log.last)
        await scene.agent.start()
        scene.restarting = False
        self._jobs = [job.id for job in under_way]
        self.done = f"kill -9 {pid} with {len(self._jobs)} jobs at the batch systems; started again at once"
        return True

    async def answer(self, scene: Scene) -> str:
        first = await scene.store.read(lambda c: log.after(c, self._last, list(all_events().values()), 1))
        if not first:
            totals = await scene.store.totals()
            done = f"{totals.delivered:,} of {totals.requested:,} events were delivered"
            return f"no new fact was needed: {done}" if totals.delivered == totals.requested else ""
        outcomes: Counter[str] = Counter()
        for identity in self._jobs:
            job = await scene.store.job(identity)
            outcomes.update(records.outcome(tried) for tried in records.live_at(job, self.at))
        attempts = records.listed(outcomes) or "none"
        fact, gap = type(first[0].fact).__name__, first[0].at - self.at
        return f"first new fact ({fact}) {gap:.1f} s later; what became of the attempts under way: {attempts}"


class ActorCrashed(Fault):
    """An actor raises in its handler, as with a bug."""

    what = "actor crashed"

    def __init__(self, moment: float, chance: random.Random) -> None:
        super().__init__(moment, chance)
        self._answer = ""

    async def inject(self, scene: Scene) -> bool:
        before = {name: it for name, it in (await scene.admin.actors()).items() if it["state"] in WORKING}
        names = sorted(name for name in before if name != "admin")
        if not names:
            return False
        name = self.chance.choice(names)
        self.at = time.time()
        await scene.admin.crash(name)
        self.done = f"{name} was made to raise in its handler"
        self._answer = await self._restarted(scene, name, before[name]["restarts"])
        return True

    async def _restarted(self, scene: Scene, name: str, before: int) -> str:
        """The snapshot lives as long as the agent, so what it shows is noted at once."""
        while time.time() - self.at < RESTART_S:
            now = (await scene.admin.actors()).get(name)
            if now is not None and now["restarts"] > before and now["state"] in WORKING:
                failure = now.get("last_failure") or {}
                why = f"{failure.get('type')}: {failure.get('text')}"
                gone = time.time() - self.at
                return f"its supervisor restarted it ({why}); seen at work again {gone:.1f} s later"
            await asyncio.sleep(0.05)
        return ""

    async def answer(self, scene: Scene) -> str:  # noqa: ARG002
        return self._answer


class JobFault(Fault):
    """Something that makes one attempt of one job fail with a known exit code."""

    code: ClassVar[int]

    async def answer(self, scene: Scene) -> str:
        failures = await scene.store.read(lambda c: views.failures(c, limit=1000))
        mine = [tried for tried in failures if tried.exit_code == self.code and (tried.closed_at or 0) >= self.at]
        if not mine:
            return ""
        job = await scene.store.job(mine[-1].job_id)
        return records.retried(job, mine[-1])


class BadExit(JobFault):
    """The payload of one job ends with exit code 65."""

    what = "bad exit code"
    code = 65

    async def inject(self, scene: Scene) -> bool:
        self.at = time.time()
        (scene.place.faults / "exit-once").touch()
        self.done = f"one payload was told to end with exit code {self.code}"
        return True


class PayloadKilled(JobFault):
    """The payload of one job is killed by SIGKILL."""

    what = "job killed"
    code = 128 + signal.SIGKILL

    async def inject(self, scene: Scene) -> bool:
        found = payloads(scene)
        if not found:
            return False
        pid, site = self.chance.choice(found)
        try:
            if os.getpgid(pid) != pid:
                return False
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.at = time.time()
        self.done = f"kill -9 of the process group {pid}, a job at {site}"
        return True


def payloads(scene: Scene) -> list[tuple[int, str]]:
    """Return the payload processes of processing jobs with their sites."""
    program = scene.spec.files[0]
    found = []
    for pid in all_pids():
        words = arguments(pid)
        script = next((word for word in words[:3] if word.endswith(f"/{program}")), "")
        site = next((site for site in WORKERS if script.startswith(str(scene.place.work(site)) + os.sep)), "")
        if site:
            found.append((pid, site))
    return found


class OutputTruncated(Fault):
    """A small output loses its second half on the storage element after it was booked, before it is merged."""

    what = "output truncated"

    def __init__(self, moment: float, chance: random.Random) -> None:
        super().__init__(moment, chance)
        self._lfn = ""

    async def inject(self, scene: Scene) -> bool:
        files = await scene.store.read(
            lambda c: views.files(c, states=[FileState.UNMERGED], kind=FileKind.UNMERGED, limit=1000)
        )
        waiting: dict[str, list[views.FileRow]] = defaultdict(list)
        for file in files:
            waiting[file.site].append(file)
        safe = [file for site in sorted(waiting) if len(waiting[site]) <= 3 for file in waiting[site]]  # no bin is full
        if not safe:
            return False
        file = self.chance.choice(safe)
        path = Path(f"{scene.place.storage(file.site)}{file.lfn}")
        try:
            os.chmod(path, 0o644)
            os.truncate(path, file.size // 2)
        except FileNotFoundError:
            return False
        self.at = time.time()
        self._lfn = file.lfn
        self.done = f"{path.name} at {file.site} cut from {file.size:,} to {file.size // 2:,} bytes"
        return True

    async def answer(self, scene: Scene) -> str:
        if not self._lfn:
            return ""
        file = await scene.store.file(self._lfn)
        job = await scene.store.job(file.job)
        second = next((row.id for row in job.files if row.id != file.id), None)
        return records.remade(file, job, None if second is None else await scene.store.file(second))

"""Keeps as many pilots in a batch system as there is work for."""

import logging
import secrets
from typing import TYPE_CHECKING

from backends.batch.asking import Traffic, together
from backends.batch.base import BatchState, BatchSystem, JobDescription
from runtime.spec import SCHEMA
from supervisors import Clock

if TYPE_CHECKING:
    from backends.batch.pilot import PilotSettings

NAME = "pilot"
WAITS = "waits for a pilot"
GRACE_S = 300
"""Seconds that a pilot's batch slot lasts beyond its own time."""
YOUNG_S = 60.0
"""A pilot that ends badly sooner after it was asked for says that something is wrong with pilots."""
PAUSES_S = (0.0, 5.0, 30.0, 120.0, 600.0)
"""Waits before pilots are asked for again when one after another ended badly and young."""

_log = logging.getLogger(__name__)


class Fleet:
    """The pilots of one target. Their names are the tokens of their jobs in the batch system."""

    def __init__(self, settings: "PilotSettings", inner: BatchSystem, clock: Clock) -> None:
        self.alive: dict[str, BatchState] = {}
        self.ended: set[str] = set()
        self.waits = WAITS
        """Why jobs wait, for people."""
        self._settings = settings
        self._inner = inner
        self._clock = clock
        self._cursor = ""
        self._root = ""
        self._runtime = ""
        self._asked: dict[str, float] = {}
        self._failures = 0
        self._not_before = 0.0

    async def open(self, root: str, runtime: str) -> None:
        """Make the batch system ready; `root` and `runtime` are the shared directory and the runtime on the nodes."""
        self._root, self._runtime = root, runtime
        await self._inner.open()
        await self.look()

    async def close(self) -> None:
        await self._inner.close()

    def traffic(self) -> Traffic:
        return together(self._inner)

    async def look(self) -> None:
        """Ask the batch system how its pilots are."""
        poll = await self._inner.poll(self._cursor)
        listed = {status.token for status in poll.statuses}
        for status in poll.statuses:
            if not status.token.startswith(NAME):
                continue
            if status.state is not BatchState.ENDED:
                self.alive[status.token] = status.state
                continue
            self._judge(status.token, status.exit_code, status.reason)
        if poll.complete:
            for name in [name for name in self.alive if name not in listed]:
                self._judge(name, None, "the batch system does not know it any more")
        self._cursor = poll.cursor

    def _judge(self, name: str, code: int | None, reason: str) -> None:
        self.alive.pop(name, None)
        asked = self._asked.pop(name, None)
        if name in self.ended:
            return
        self.ended.add(name)
        if code == 0:
            self._failures, self.waits = 0, WAITS
        elif asked is not None and self._clock.monotonic() - asked < YOUNG_S:
            self._failures += 1
            pause = PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
            self._not_before = self._clock.monotonic() + pause
            self.waits = f"the last pilot ended at once with {code}: {reason or 'see its report'}; next in {pause:g} s"
            _log.warning("%s", self.waits)

    async def enough(self, wanted: int) -> None:
        """Ask for pilots until there are as many as wanted. Raise BatchError."""
        missing = min(wanted - len(self.alive), self._inner.capabilities.max_submit)
        if missing <= 0 or self._clock.monotonic() < self._not_before:
            return
        pilots = [self._pilot(f"{NAME}{secrets.token_hex(8)}") for _ in range(missing)]
        for verdict in await self._inner.submit(pilots):
            if verdict.accepted:
                self.waits = self.waits if self._failures else WAITS
                self.alive[verdict.token] = BatchState.PENDING
                self._asked[verdict.token] = self._clock.monotonic()
            else:
                self._not_before = self._clock.monotonic() + PAUSES_S[2]
                self.waits = f"the batch system takes no pilot: {verdict.reason}"

    async def bury(self) -> None:
        """Remove what ended pilots left, when their jobs have been looked after."""
        if self.ended:
            await self._inner.clean(sorted(self.ended))
            self.ended.clear()

    def _pilot(self, name: str) -> JobDescription:
        settings = self._settings
        command = [settings.node_python, "-I", "-S", self._runtime, "pilot", "--dir", self._root, "--name", name]
        command += ["--slots", str(settings.slots), "--memory", str(settings.memory_mb)]
        command += ["--idle", str(settings.idle_s), "--wall", str(settings.wall_s)]
        spec = {
            "schema": SCHEMA,
            "token": name,
            "job": 0,
            "type": "pilot",
            "steps": [{"name": NAME, "command": command}],
            "output": None,
            "limits": {"wall_s": settings.wall_s, "grace_s": GRACE_S},
        }
        wall = int(settings.wall_s) + GRACE_S
        memory = settings.memory_mb or 2000 * settings.slots
        return JobDescription(token=name, spec=spec, cores=settings.slots, memory_mb=memory, wall_s=wall)

"""What is done to an agent in a campaign: harm of a kind that the seed chooses, and the end of it.

Harm to the disk is done to a small file system that only root may mount, harm to the clock through libfaketime.
"""

import asyncio
import collections
import contextlib
import os
import resource
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from services.console.exits import Exit
from tests.real.mariadb import MariaServer

if TYPE_CHECKING:
    from tests.acceptance.campaign import Campaign

DAY_S = 86_400.0


class FalseClock:
    """The wall clock of the processes that are started with its environment; it can be set wrong while they run."""

    def __init__(self, directory: Path) -> None:
        (library,) = Path("/usr/lib").glob("*/faketime/libfaketime.so.1")
        self._told = directory / "clock"
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._told),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }

    def __enter__(self) -> "FalseClock":
        return self

    def __exit__(self, *_: object) -> None:
        """Remove what libfaketime shares among processes, which a killed one leaves behind."""
        for path in Path("/dev/shm").glob("*faketime_s*_*"):
            if not Path("/proc", path.name.rpartition("_")[2]).exists():
                path.unlink(missing_ok=True)

    def set(self, wrong_by_s: float) -> None:
        """Every look at the clock from now on is wrong by so much."""
        new = self._told.with_suffix(".new")
        new.write_text(f"{wrong_by_s:+.0f}s\n")
        new.replace(self._told)


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int = 256) -> Iterator[None]:
    """A file system of its own for a directory; takes root."""
    place.mkdir(exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "none", place)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", place], check=True)


def _mount(*words: str | Path) -> None:
    subprocess.run(["mount", *words], check=True)


def _address_space(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize()


class Harm:
    """Does harm to a campaign. `done` counts it by kind."""

    def __init__(
        self, campaign: "Campaign", server: MariaServer | None = None, clock: FalseClock | None = None
    ) -> None:
        self.done: collections.Counter[str] = collections.Counter()
        self._campaign, self._chance, self._state = campaign, campaign.chance, campaign.directory / "state"
        kinds: dict[str, Callable[[], Awaitable[None]]] = {"agent killed": self._kill}
        if server:
            self._server = server
            kinds |= {"database killed": self._kill_server, "both killed": self._kill_both}
        if clock:
            self._clock = clock
            kinds |= {"agent stopped": self._stop, "clock set wrong": self._set_clock, "disk full": self._fill}
            kinds |= {"out of handles": self._take_handles, "out of memory": self._take_memory}
            kinds |= {"disk slow": self._slow_down, "time zone changed": self._move_away}
            if server:
                kinds["database stopped"] = self._stop_server
            else:
                kinds["disk read-only"] = self._forbid_writing
        self._kinds = kinds
        self._next: list[str] = []

    async def strike(self) -> None:
        """Do one, each kind before any comes again, and undo what an operator would: room on the disk, a clock put right, a database started again."""
        if not self._next:
            self._next = self._chance.sample(list(self._kinds), len(self._kinds))
        kind = self._next.pop()
        self.done[kind] += 1
        await self._kinds[kind]()

    async def _kill(self) -> None:
        await self._campaign.kill()
        await self._campaign.start()

    async def _kill_server(self) -> None:
        self._server.kill()
        await self._start_server()

    async def _kill_both(self) -> None:
        self._server.kill()
        await self._campaign.kill()
        await self._start_server()
        await self._campaign.start()

    async def _start_server(self) -> None:
        self._server.launch()
        await asyncio.to_thread(self._server.answers)

    async def _stop(self) -> None:
        """SIGSTOP; meanwhile no second agent may have the store; SIGCONT."""
        await self._campaign.ready()
        self._campaign.signal(signal.SIGSTOP)
        try:
            if self._chance.random() < 0.2:
                await self._must_not_start("the store of a stopped agent")
            await self._while()
        finally:
            self._campaign.signal(signal.SIGCONT)

    async def _stop_server(self) -> None:
        self._server.freeze(frozen=True)
        try:
            await self._while()
        finally:
            self._server.freeze(frozen=False)

    async def _fill(self) -> None:
        """Not a byte is left where the state is."""
        others = self._state / "somebody-elses"
        with others.open("wb", buffering=0) as sink, contextlib.suppress(OSError):
            while True:
                sink.write(bytes(1 << 20))
        await self._while_perhaps_killed()
        others.unlink()

    async def _forbid_writing(self) -> None:
        await self._campaign.kill()
        _mount("-o", "remount,ro", self._state)
        try:
            await self._must_not_start("a read-only disk")
        finally:
            _mount("-o", "remount,rw", self._state)
        await self._campaign.start()

    async def _must_not_start(self, what: str) -> None:
        code, text = await self._campaign.command("run")
        assert code == Exit.NO_STORE, f"a new agent on {what} ended with {code}: {text[-2000:]}"

    async def _set_clock(self) -> None:
        self._clock.set(self._chance.uniform(-DAY_S, DAY_S))
        await self._while_perhaps_killed()
        self._clock.set(0)

    async def _take_handles(self) -> None:
        """Not one file, connection or child more than it has."""
        with self._limited(resource.RLIMIT_NOFILE, lambda pid: len(os.listdir(f"/proc/{pid}/fd"))):
            await self._while()
        await self._campaign.revive(after_death=True)

    async def _take_memory(self) -> None:
        """Next to no memory more than it has; in the end the kernel kills it.

        Python itself may freeze for want of memory when it starts a thread. The agent's own watch would end it after a minute.
        """
        with self._limited(resource.RLIMIT_AS, lambda pid: _address_space(pid) + (self._chance.randrange(8) << 20)):
            await self._while()
        await self._campaign.revive(after_death=True)
        await self._kill()

    @contextlib.contextmanager
    def _limited(self, what: int, most: Callable[[int], int]) -> Iterator[None]:
        pid = self._campaign.pid
        before = None
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended by itself
            before = resource.prlimit(pid, what)
            resource.prlimit(pid, what, (most(pid), before[1]))
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                if before is not None:
                    resource.prlimit(pid, what, before)

    async def _slow_down(self) -> None:
        """Each flush to the disk takes a while longer."""
        late = f"inject=fsync,fdatasync:delay_enter={self._chance.randrange(20, 400)}ms"
        tracing = await asyncio.create_subprocess_exec(
            *("strace", "-f", "-qq", "-e", "trace=fsync,fdatasync", "-e", late, "-o", "/dev/null"),
            *("-p", str(self._campaign.pid)),
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await self._while_perhaps_killed()
        finally:
            with contextlib.suppress(ProcessLookupError):
                tracing.terminate()
            await tracing.wait()

    async def _move_away(self) -> None:
        """The next life is in another time zone, as far from the last one as there are any."""
        zones = {"Pacific/Kiritimati": "America/Adak"}
        self._campaign.environment["TZ"] = zones.get(self._campaign.environment.get("TZ", ""), "Pacific/Kiritimati")
        await self._kill()

    async def _while_perhaps_killed(self) -> None:
        await self._while()
        if self._chance.random() < 0.5:
            await self._kill()
            await self._while()

    async def _while(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.1, 1.5))

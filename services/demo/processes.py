"""The programs of a demonstration, and how they are all ended."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from services.demo.options import DemoError
from services.demo.place import Place

PATIENCE_S = 15.0
"""What a program gets to stop in order."""


class Child:
    """A program that runs beside the demonstration, in a session of its own; it can be started again and again."""

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.name = name
        self.log = log
        self.starts = 0
        self._command = command
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; what it says goes to the end of its log."""
        with self.log.open("ab") as sink:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )
        self.starts += 1

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> int:
        """Wait until it is over and return its exit code, negative for a signal."""
        if self._process is None:
            raise DemoError(f"{self.name} was never started")
        return await self._process.wait()

    async def kill(self) -> None:
        """End it as a crash of the machine would: without a chance to do anything."""
        if self._process is not None and self.alive:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, insist after a while."""
        if self._process is None or not self.alive:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._process.wait()
        except TimeoutError:
            await self.kill()

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(
            ProcessLookupError
        ):  # not by the methods of Popen, which may reap it before asyncio does
            os.kill(self.pid, number)

    def failure(self) -> DemoError:
        """Say that it ended when it should not have, with the end of its log."""
        code = self._process.returncode if self._process is not None else None
        return DemoError(f"{self.name} ended with {code}; the end of {self.log}:\n{last_lines(self.log)}")


async def call(command: Sequence[str], log: Path, *, cwd: Path | None = None) -> tuple[int, str]:
    """Run a program to its end; return its exit code and what it printed, which is also appended to a log."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=cwd,
    )
    try:
        out, errors = await process.communicate()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    with log.open("ab") as sink:
        sink.write(b"$ " + " ".join(command).encode() + b"\n" + out + errors)
    return await process.wait(), out.decode(errors="replace")


def last_lines(path: Path, lines: int = 15) -> str:
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return str(error)


def arguments(pid: int) -> list[str]:
    """Return the command line of a process, empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


def all_pids() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit():
            yield int(name)


def parent(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return 0
    return int(text.rpartition(")")[2].split()[1])


def nodes(place: Place) -> list[int]:
    """Return the daemons that run the jobs of this demonstration."""
    below = str(place.root / "sites") + os.sep
    found = []
    for pid in all_pids():
        words = arguments(pid)
        if "node" in words and "--dir" in words[:-1] and words[words.index("--dir") + 1].startswith(below):
            found.append(pid)
    return found


def leftovers(place: Place) -> list[int]:
    """Return agents and ProdMgrs of an earlier demonstration in the same place that were never ended."""
    marks = {str(place.config), f"sqlite:///{place.manager_store}"}
    programs = ("run_agent.py", "run_prodmgr.py")
    return [
        pid
        for pid in all_pids()
        if pid != os.getpid()
        and marks.intersection(words := arguments(pid))
        and any(word.endswith(programs) for word in words[:3])
    ]


def descendants(roots: Sequence[int]) -> list[int]:
    """Return these processes and all below them, children after their parents."""
    children: dict[int, list[int]] = {}
    for pid in all_pids():
        children.setdefault(parent(pid), []).append(pid)
    found = list(dict.fromkeys(roots))
    for pid in found:
        found.extend(child for child in children.get(pid, []) if child not in found)
    return found


def end_jobs(place: Place) -> None:
    """End the daemons that run jobs of this demonstration, with their jobs."""
    _end(lambda: nodes(place))


def end_leftovers(place: Place) -> None:
    """End all that an earlier demonstration in the same place has left."""
    _end(lambda: [*leftovers(place), *nodes(place)])


def _end(search: Callable[[], list[int]]) -> None:
    for _ in range(3):  # a daemon may have started something in between
        left = descendants(search())
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return

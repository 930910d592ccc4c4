"""A spool directory with a node daemon on it, as the tests of the local batch system share it."""

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from backends.batch.base import BatchState, BatchSystem, JobDescription, JobStatus
from backends.batch.local import LocalBatch, LocalSettings
from runtime import process
from runtime.build import build

DEADLINE_S = 60.0


class Machine:
    """A spool directory, with whoever works on it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.node = directory / "node"
        self.marks = directory / "marks"
        self.runtime = build(directory)
        self.opened: list[LocalBatch] = []

    async def agent(self, **settings: Any) -> LocalBatch:
        """Return a fresh agent's view of the same directory."""
        batch = LocalBatch(LocalSettings(directory=str(self.node), **{"idle_s": 5.0, **settings}), runtime=self.runtime)
        self.opened.append(batch)
        await batch.open()
        return batch

    def job(self, token: str, script: str = "") -> JobDescription:
        """Return a job that leaves a mark each time it runs, and then does what `script` says."""
        command = ["sh", "-c", f"echo {token} >> {self.marks}; {script}"]
        spec = {
            "schema": 1,
            "token": token,
            "job": 1,
            "type": "processing",
            "workflow": "w",
            "sandbox": None,
            "inputs": [],
            "environment": {},
            "steps": [{"name": "payload", "command": command, "environment": {}}],
            "output": None,
            "concatenate": False,
            "stage_out": [],
            "limits": {"wall_s": 600, "memory_mb": 500},
        }
        return JobDescription(token=token, spec=spec)

    def ran(self) -> list[str]:
        return sorted(self.marks.read_text().split()) if self.marks.exists() else []

    def daemon(self) -> int:
        return int((self.node / "node.lock").read_text())

    def kill_daemon(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.daemon(), signal.SIGKILL)

    def lines(self) -> list[dict[str, Any]]:
        texts = b"".join(path.read_bytes() for path in sorted((self.node / "journal").iterdir())).split(b"\n")
        return [json.loads(text) for text in texts if text]

    def who(self, token: str) -> int:
        """Return the pid of the runtime that started a job."""
        started = (line for line in self.lines() if line["event"] == "started" and line["token"] == token)
        return int(next(started)["who"].split(":")[1])


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    made = Machine(tmp_path)
    yield made
    last = await made.agent()
    live = [status.token for status in (await last.poll("")).statuses if status.state is not BatchState.ENDED]
    await last.cancel(live)
    await ended(last, *live)
    os.kill(made.daemon(), signal.SIGTERM)
    for batch in made.opened:
        await batch.close()

    async def nobody_left() -> bool:
        return not any(str(tmp_path) in command_line(found.pid) for found in process.everyone())

    await until(nobody_left)


def command_line(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not await happened():
            await asyncio.sleep(0.01)


async def reached(batch: BatchSystem, state: BatchState, *tokens: str) -> dict[str, JobStatus]:
    cursor = "-"

    async def all_there() -> bool:
        nonlocal cursor
        cursor = (await batch.poll(cursor)).cursor
        found = await batch.find(tokens)
        return all(token in found and found[token].state is state for token in tokens)

    await until(all_there)
    return await batch.find(tokens)


async def begun(machine: Machine, token: str) -> None:
    """Wait until the payload itself has begun, a moment after its attempt is running."""

    async def marked() -> bool:
        return token in machine.ran()

    await until(marked)


async def ended(batch: BatchSystem, *tokens: str) -> dict[str, JobStatus]:
    return await reached(batch, BatchState.ENDED, *tokens)

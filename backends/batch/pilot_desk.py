"""Asks the desk at a site about the directory that an agent shares with its pilots (runtime/desk.py)."""

import asyncio
import os
import secrets
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import msgspec

from backends.batch.asking import Traffic
from backends.batch.base import BatchError
from backends.batch.scheduler import SiteSettings
from backends.batch.site import Site
from backends.channel.base import Channel
from runtime import desk
from runtime.shared import Shared
from supervisors import Clock


class Desk(Protocol):
    """One shared directory at one host. Every method raises BatchError; what was asked may have been done all the same."""

    @property
    def root(self) -> str:
        """The absolute name of the directory there, known after `open`."""

    @property
    def runtime(self) -> str:
        """Where the worker runtime is there, known after `open`."""

    async def open(self) -> None:
        """Make the directory; safe to repeat."""

    async def ask(self, verb: str, **question: Any) -> Any:
        """Return the answer to a question of runtime/desk.py."""

    async def bring(self, sandbox: Mapping[str, str]) -> Mapping[str, str]:
        """Put a sandbox of the agent there unless it is; return where it is."""

    async def close(self) -> None:
        """Let go of threads; safe to repeat."""


class DeskHere:
    """The desk of this machine: no process, one thread."""

    def __init__(self, directory: str, runtime: Path) -> None:
        self.root = os.path.abspath(os.path.expanduser(directory))
        self.runtime = str(runtime)
        self._where = Shared(self.root, f"agent-{secrets.token_hex(6)}")
        self._thread: ThreadPoolExecutor | None = None

    async def open(self) -> None:
        try:
            await self.ask("open")
        except BatchError as fault:
            raise BatchError(f"{self.root} cannot be used: {fault}", transient=False) from fault

    async def ask(self, verb: str, **question: Any) -> Any:
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="pilot-desk")
        work = {"ask": verb, **question}
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, desk.answer, self._where, work)
        except OSError as fault:
            raise BatchError(f"{self.root}: {fault}", transient=True) from fault

    async def bring(self, sandbox: Mapping[str, str]) -> Mapping[str, str]:
        return sandbox

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            await asyncio.to_thread(thread.shutdown)


class DeskThere:
    """The desk at a host: each question is one command on its login node."""

    def __init__(self, settings: SiteSettings, channel: Channel, runtime: Path, clock: Clock) -> None:
        self._site = Site(settings, channel, runtime, clock)
        self._host = channel.host
        self._python = settings.python
        self._writer = f"agent-{secrets.token_hex(6)}"

    @property
    def root(self) -> str:
        return self._site.root

    @property
    def runtime(self) -> str:
        return self._site.runtime

    async def open(self) -> None:
        await self._site.open()
        await self.ask("open")

    async def ask(self, verb: str, **question: Any) -> Any:
        if not self.root:
            await self._site.open()
        command = [self._python, "-I", "-S", self.runtime, "desk", "--dir", self.root, "--writer", self._writer]
        answer = await self._site.run(command, msgspec.json.encode({"ask": verb, **question}))
        if answer.code:
            text = f"{self._host}: {' '.join(command)} ended with {answer.code}: {answer.said()}"
            raise BatchError(text, transient=True)
        try:
            return msgspec.json.decode(answer.out)
        except msgspec.DecodeError as fault:
            text = f"{self._host}: the answer to {verb} is unreadable: {fault}: {answer.out[:200]!r}"
            raise BatchError(text, transient=True) from fault

    def traffic(self) -> Traffic:
        return self._site.traffic()

    async def bring(self, sandbox: Mapping[str, str]) -> Mapping[str, str]:
        return await self._site.bring(sandbox)

    async def close(self) -> None:
        """Nothing to let go of: the channel belongs to the host."""

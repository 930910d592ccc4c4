"""The agent's end of a site: puts the worker runtime there, and asks the clerk (runtime/clerk.py)."""

import asyncio
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from backends.batch.asking import Traffic
from backends.batch.base import BatchError
from backends.batch.scheduler import Said, SiteSettings
from backends.channel.base import Answer, Channel, ChannelError
from backends.channel.pace import Hour
from supervisors import Clock

COMMAND_S = 45.0
"""Time for the commands of one request, in seconds; the channel allows 60 for all of it."""

_UNPACK = """
import os, sys, zipfile
source, target = sys.argv[1:]
draft = "%s.%d" % (target, os.getpid())
zipfile.ZipFile(source).extractall(draft)
try:
    os.rename(draft, target)
except OSError:
    if not os.path.isdir(target):
        raise
os.unlink(source)
"""
"""Lays the runtime out as files: Python keeps the bytecode of those, which spares a call of the clerk 0.2 s of CPU."""

_OPEN = '[ -d "$1" ] || mkdir -- "$1" && cd -- "$1" && pwd -P && ls'
"""Makes no parents: on a login node where the shared file system is not mounted, all jobs would seem to be gone."""


class Site:
    """One directory at one host. `root` is its absolute name there, `mark` what the labels of its jobs begin with; both
    are known after `open`."""

    def __init__(
        self, settings: SiteSettings, channel: Channel, runtime: Path, clock: Clock, unset: Sequence[str] = ()
    ) -> None:
        self._settings = settings
        self._unset = unset
        self._clock = clock
        self._hour = Hour()
        self._channel = channel
        self._local_runtime = runtime
        self._there: set[str] = set()
        self._opening = asyncio.Lock()
        self._ready = False
        self.root = self.mark = ""

    def traffic(self) -> Traffic:
        """Return what was asked of the site: commands, and files that were put there."""
        return Traffic(self._hour.all, self._hour.calls(self._clock.monotonic()))

    @property
    def runtime(self) -> str:
        """The path of the worker runtime at the site."""
        return f"{self.root}/{self._local_runtime.stem}"

    async def open(self) -> None:
        """Make the directory and put the worker runtime there unless it is; once is enough. Raise BatchError."""
        async with self._opening:
            if not self._ready:
                self.root = await self._prepare()
                self.mark = hashlib.sha256(self.root.encode()).hexdigest()[:8] + "."
                self._ready = True

    async def _prepare(self) -> str:
        directory = self._settings.directory.removeprefix("~/")
        answer = await self.run(["sh", "-c", _OPEN, "sh", directory])
        lines = answer.out.decode(errors="replace").splitlines()
        if answer.code or not lines:
            text = f"{self._channel.host}: {directory} cannot be used: {answer.said()}"
            raise BatchError(text, transient=False)
        self._there = {name for name in lines[1:] if name.startswith("sandbox-")}
        if self._local_runtime.stem not in lines[1:]:
            await self._bring_runtime(lines[0])
        return lines[0]

    async def _bring_runtime(self, root: str) -> None:
        target = f"{root}/{self._local_runtime.stem}"
        packed = f"{target}.{secrets.token_hex(6)}.pyz"
        await self._put(packed, await asyncio.to_thread(self._local_runtime.read_bytes))
        answer = await self.run([self._settings.python, "-I", "-c", _UNPACK, packed, target])
        if answer.code:
            text = f"{self._channel.host}: {self._settings.python} cannot lay out the runtime: {answer.said()}"
            raise BatchError(text, transient=False)

    async def bring(self, sandbox: Mapping[str, str]) -> dict[str, str]:
        """Put a sandbox of the agent at the site unless it is there; return where it is, for the job's specification."""
        name = f"sandbox-{sandbox['sha256']}"
        if name not in self._there:
            content = await asyncio.to_thread(Path(sandbox["path"]).read_bytes)
            if hashlib.sha256(content).hexdigest() != sandbox["sha256"]:
                raise BatchError(f"{sandbox['path']} is damaged: not {sandbox['sha256']}", transient=False)
            await self._put(f"{self.root}/{name}", content)
            self._there.add(name)
        return {"path": f"{self.root}/{name}", "sha256": sandbox["sha256"]}

    async def ask(self, what: str, commands: Sequence[Sequence[str]] = (), **request: Any) -> Any:
        """Let the clerk do `what` and return its answer. Raise BatchError, in doubt whether it was done."""
        await self.open()
        request |= {"do": what, "commands": commands, "environment": self._settings.command_environment}
        request |= {"unset": self._unset, "deadline_s": COMMAND_S}
        argv = [self._settings.python, "-I", "-S", self.runtime, "clerk", self.root]
        answer = await self.run(argv, msgspec.json.encode(request))
        if answer.code:
            self._ready = False  # look anew: the directory may have been emptied
            text = f"{self._channel.host}: {' '.join(argv)} ended with {answer.code}: {answer.said()}"
            raise BatchError(text, transient=True)
        try:
            return msgspec.json.decode(answer.out)
        except msgspec.DecodeError as fault:
            text = f"{self._channel.host}: the answer to {what} is unreadable: {fault}: {answer.out[:200]!r}"
            raise BatchError(text, transient=True) from fault

    async def run(self, argv: Sequence[str], stdin: bytes = b"") -> Answer:
        """Run a program there. Raise BatchError, in doubt whether it ran."""
        self._hour.called(self._clock.monotonic())
        try:
            return await self._channel.run(argv, stdin=stdin)
        except ChannelError as fault:
            raise BatchError(f"{self._channel.host}: {fault}", transient=fault.transient) from fault

    async def _put(self, path: str, content: bytes) -> None:
        self._hour.called(self._clock.monotonic())
        try:
            await self._channel.put(path, content, 0o755)
        except ChannelError as fault:
            raise BatchError(f"{self._channel.host}: {path}: {fault}", transient=fault.transient) from fault


def said(answer: Any) -> list[Said]:
    """Return what the commands of a request printed."""
    return msgspec.convert(answer["answers"], list[Said])

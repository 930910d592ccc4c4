"""Runs the program that moves data or asks a server, and ends its whole process group when nobody waits any more (TX-10)."""

import asyncio
import contextlib
import fcntl
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from backends.storage_element.base import StorageError
from backends.storage_element.sums import BLOCK, Sums, read_through

Taken = TypeVar("Taken")


_running: set[int] = set()
"""The programs under way, by process id."""


class Ended(msgspec.Struct, frozen=True):
    """How a program ended: its exit code, or minus a signal."""

    code: int
    out: bytes
    err: bytes

    @property
    def said(self) -> str:
        return (self.err.strip() or self.out.strip()).decode(errors="replace")[-1000:]


async def run(
    argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None, deadline_s: float | None = None
) -> Ended:
    """Run a program to its end and return what it said. Raise StorageError, "transient", at the deadline."""
    async with _child(argv, env, deadline_s) as child:
        out, err = await child.communicate(stdin)
    return Ended(child.returncode or 0, out, err)


async def summed(
    argv: Sequence[str], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> tuple[Sums, Ended]:
    """Run a program that writes a content to its standard output, and sum that up."""
    return await piped(argv, read_through, stdin=stdin, env=env)


async def piped(
    argv: Sequence[str], take: Callable[[int], Taken], *, stdin: bytes = b"", env: Mapping[str, str] | None = None
) -> tuple[Taken, Ended]:
    """Run a program and have `take` read its standard output from a pipe to the end, in a thread."""
    reader, writer = os.pipe()
    try:
        with contextlib.suppress(OSError):
            fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, BLOCK)  # 64 kB each time would be a change of threads for each
        try:
            async with _child(argv, env, None, stdout=writer) as child:
                os.close(writer)
                writer = -1
                taking = asyncio.create_task(asyncio.to_thread(take, reader))
                try:
                    _, err = await child.communicate(stdin)
                    taken = await taking
                finally:
                    await _ended(child, taking)
        finally:
            if writer >= 0:
                os.close(writer)
    finally:
        os.close(reader)
    return taken, Ended(child.returncode or 0, b"", err)


async def _ended(child: asyncio.subprocess.Process, taking: asyncio.Task[Any]) -> None:
    """Wait for the thread, which ends when nobody has the other end of the pipe any more."""
    if not taking.done():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await asyncio.gather(taking, return_exceptions=True)


@contextlib.asynccontextmanager
async def _child(
    argv: Sequence[str], env: Mapping[str, str] | None, deadline_s: float | None, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=pipe,
            stdout=stdout,
            stderr=pipe,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    except OSError as fault:
        raise StorageError(f"{argv[0]} cannot be run: {fault}; is it installed?", kind="permission") from fault
    _running.add(child.pid)
    try:
        async with asyncio.timeout(deadline_s):
            yield child
    except TimeoutError:
        raise StorageError(f"{argv[0]}: no end within {deadline_s:g} s; it was killed", kind="transient") from None
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            await child.communicate()
        _running.discard(child.pid)


def position(path: Path) -> int | None:
    """Return how many bytes of a file one of the programs under way has read (fdinfo of proc(5)), None if none has it open."""
    for pid in tuple(_running):
        with contextlib.suppress(OSError):
            for opened in Path(f"/proc/{pid}/fd").iterdir():
                if os.readlink(opened) == str(path):
                    told = Path(f"/proc/{pid}/fdinfo/{opened.name}").read_text()
                    return int(told.split()[1])
    return None

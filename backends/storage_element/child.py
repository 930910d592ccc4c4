"""Runs the program that moves data or asks a server, and ends its whole process group when nobody waits any more (TX-10)."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from backends.storage_element.base import StorageError
from backends.storage_element.sums import BLOCK, Sums

SAID = 64 * 1024
"""Bytes of complaint that are kept."""


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


async def summed(argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> tuple[Sums, Ended]:
    """Run a program that writes a content to its standard output, and sum that up."""
    sums = Sums()
    async with _child(argv, env, None) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdin.close()
        complaint = asyncio.create_task(_complaint(child.stderr))
        try:
            while block := await child.stdout.read(BLOCK):
                await asyncio.to_thread(sums.update, block)
            err = await complaint
        finally:
            complaint.cancel()
        await child.wait()
    return sums, Ended(child.returncode or 0, b"", err)


async def _complaint(stream: asyncio.StreamReader) -> bytes:
    """Read to the end, so that nobody blocks, and keep the last of it."""
    kept = b""
    while block := await stream.read(SAID):
        kept = (kept + block)[-SAID:]
    return kept


@contextlib.asynccontextmanager
async def _child(
    argv: Sequence[str], env: Mapping[str, str] | None, deadline_s: float | None
) -> AsyncIterator[asyncio.subprocess.Process]:
    pipe = asyncio.subprocess.PIPE
    try:
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            limit=BLOCK,
            start_new_session=True,
            env={**os.environ, **(env or {})},
        )
    except OSError as fault:
        raise StorageError(f"{argv[0]} cannot be run: {fault}; is it installed?", kind="permission") from fault
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

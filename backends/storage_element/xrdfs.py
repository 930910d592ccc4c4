"""Asks an XRootD server through `xrdfs` programs that stay: 1,200 questions a second instead of 8 to 33 processes."""

import asyncio
import contextlib
import os
import re
import signal

from backends.storage_element.base import StorageError

ENVIRONMENT = {
    "XRD_CONNECTIONWINDOW": "15",
    "XRD_CONNECTIONRETRY": "1",
    "XRD_STREAMERRORWINDOW": "0",
    "XRD_REQUESTTIMEOUT": "300",
    "XRD_LOGLEVEL": "Error",
    "LC_ALL": "C",
}
"""The programs give a dead server up at once instead of after two minutes: when to try again is the agent's business."""

KINDS = {
    "[3011]": "missing",
    "[3018]": "exists",
    "[3010]": "permission",
    "[3009]": "space",
    "[3021]": "space",
    "[3015]": "permission",
    "[3016]": "permission",
    "[3025]": "permission",
    "[3030]": "permission",
    "file exists": "exists",
    "Permission denied": "permission",
    "no such file or directory": "missing",
    "No space left": "space",
}
"""Error numbers of the XRootD protocol (XProtocol.hh, XErrorCode) in the words of the contract; others are "transient"."""

_PROMPT = re.compile(rb"\[[^\]\n]*\] \S+ > $")
ANSWER_CAP = 256 * 1024 * 1024


def fault(what: str, said: str) -> StorageError:
    """Return the error for what a program complained of."""
    kind = next((kind for text, kind in KINDS.items() if text in said), "transient")
    return StorageError(f"{what}: {said.strip()[-1000:]}", kind=kind)


class Xrdfs:
    """Up to `most` programs for one server, each answering one question at a time; one that fails is replaced."""

    def __init__(self, server: str, most: int) -> None:
        self._server = server
        self._turns = asyncio.Semaphore(most)
        self._idle: list[_Program] = []

    async def ask(self, *words: str, deadline_s: float) -> str:
        """Return what the server says. Raise StorageError, "transient" after `deadline_s` seconds without an end."""
        if any(re.search(r"[\s\"'\\]", word) for word in words):
            raise StorageError(
                f"{words[-1]!r}: xrdfs takes no name with spaces, quotes or backslashes", kind="permission"
            )
        async with self._turns:
            program = self._idle.pop() if self._idle else _Program()
            try:
                async with asyncio.timeout(deadline_s):
                    said = await program.ask(self._server, " ".join(words))
                if "[ERROR]" in said:
                    raise fault(f"xrdfs {self._server} {words[0]} {words[-1]}", said.partition("[ERROR]")[2])
            except TimeoutError:
                await program.end()
                text = f"xrdfs {self._server} {words[0]}: no end within {deadline_s:g} s; it was killed"
                raise StorageError(text, kind="transient") from None
            except StorageError as error:
                await (program.end() if error.kind == "transient" else self._keep(program))
                raise
            except BaseException:
                await program.end()
                raise
            await self._keep(program)
            return said

    async def _keep(self, program: "_Program") -> None:
        self._idle.append(program)

    async def close(self) -> None:
        """End every program; safe to repeat."""
        while self._idle:
            await self._idle.pop().end()


class _Program:
    """One interactive xrdfs: a prompt ends what it says to a question."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None

    async def ask(self, server: str, question: str) -> str:
        if self._child is None:
            await self._begin(server)
        child = self._child
        assert child is not None
        assert child.stdin is not None
        child.stdin.write(question.encode() + b"\n")
        return (await self._answer()).decode(errors="replace").partition("\n")[2]  # the first line repeats the question

    async def _begin(self, server: str) -> None:
        pipe = asyncio.subprocess.PIPE
        try:
            self._child = await asyncio.create_subprocess_exec(
                "xrdfs",
                server,
                stdin=pipe,
                stdout=pipe,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **ENVIRONMENT},
            )
        except OSError as error:
            raise StorageError(f"xrdfs cannot be run: {error}; is it installed?", kind="permission") from error
        await self._answer()

    async def _answer(self) -> bytes:
        assert self._child is not None
        assert self._child.stdout is not None
        said = bytearray()
        while not _PROMPT.search(said, max(0, len(said) - 300)):
            block = await self._child.stdout.read(1 << 16)
            if not block or len(said) > ANSWER_CAP:
                raise StorageError(f"xrdfs ended: {said[-500:].decode(errors='replace')}", kind="transient")
            said += block
        return bytes(said[: said.rfind(b"[")])

    async def end(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            await child.communicate()

"""Asks an XRootD server through `xrdfs` programs that stay: 1,200 questions a second instead of 8 to 33 processes."""

import asyncio
import contextlib
import os
import re
import signal
from collections import deque
from collections.abc import Sequence

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

ASK_S = 60.0
"""A question to the server may take so long, in seconds."""

_PROMPT = re.compile(rb"^\[[^\]\n]*\] \S+ > ", re.MULTILINE)
ANSWER_CAP = 256 * 1024 * 1024
SHARE = 10
"""So many questions go to one program before the next one is given some."""
MOST = 50
"""Questions that are written to a program at once."""


def fault(what: str, said: str) -> StorageError:
    """Return the error for what a program complained of."""
    kind = next((kind for text, kind in KINDS.items() if text in said), "transient")
    return StorageError(f"{what}: {said.strip()[-1000:]}", kind=kind)


class _Question:
    def __init__(self, words: Sequence[str], deadline_s: float) -> None:
        self.words = words
        self.deadline_s = deadline_s
        self.answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def answered(self, server: str, said: str) -> bool:
        """Give the answer to whoever asked; return whether the program is still good for another question."""
        error = None
        if "[ERROR]" in said:
            error = fault(f"xrdfs {server} {self.words[0]} {self.words[-1]}", said.partition("[ERROR]")[2])
            self.failed(error)
        elif not self.answer.done():
            self.answer.set_result(said)
        return error is None or not error.transient

    def failed(self, error: StorageError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Xrdfs:
    """Up to `most` programs for one server. What is asked at the same time is written to them together; one that fails is
    replaced."""

    def __init__(self, server: str, most: int) -> None:
        self._server = server
        self._most = most
        self._waiting: deque[_Question] = deque()
        self._looking = False
        self._idle: list[_Program] = []
        self._busy: dict[asyncio.Task[None], Sequence[_Question]] = {}

    async def ask(self, *words: str, deadline_s: float = ASK_S) -> str:
        """Return what the server says. Raise StorageError, "transient" after `deadline_s` seconds without an end.

        A question that may take longer than ASK_S has a program to itself.
        """
        if any(re.search(r"[\s\"'\\]", word) for word in words):
            raise StorageError(
                f"{words[-1]!r}: xrdfs takes no name with spaces, quotes or backslashes", kind="permission"
            )
        question = _Question(words, deadline_s)
        self._waiting.append(question)
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._look)
        try:
            return await question.answer
        except asyncio.CancelledError:
            for task, questions in list(self._busy.items()):
                if question in questions and all(each.answer.done() for each in questions):
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
            raise

    def _look(self) -> None:
        self._looking = False
        while self._waiting and len(self._busy) < self._most:
            if questions := self._next():
                task = asyncio.create_task(self._serve(questions), name=f"xrdfs {self._server}")
                self._busy[task] = questions
                task.add_done_callback(self._served)

    def _next(self) -> list[_Question]:
        free = self._most - len(self._busy)
        most = min(MOST, max(SHARE, -(-len(self._waiting) // free)))
        questions: list[_Question] = []
        while self._waiting and len(questions) < most:
            lengthy = self._waiting[0].deadline_s > ASK_S
            if lengthy and questions:
                break
            question = self._waiting.popleft()
            if not question.answer.done():
                questions.append(question)
                if lengthy:
                    break
        return questions

    async def _serve(self, questions: Sequence[_Question]) -> None:
        """Have a program answer them. It is kept unless something is wrong with it or with the server."""
        program = self._idle.pop() if self._idle else _Program()
        deadline_s = max(question.deadline_s for question in questions)
        good = False
        try:
            async with asyncio.timeout(deadline_s):
                good = await program.ask(self._server, questions)
        except TimeoutError:
            text = f"xrdfs {self._server} {questions[0].words[0]}: no end within {deadline_s:g} s; it was killed"
            _fail(questions, StorageError(text, kind="transient"))
        except StorageError as error:
            _fail(questions, error)
        finally:
            if good:
                self._idle.append(program)
            else:
                await program.end()

    def _served(self, task: asyncio.Task[None]) -> None:
        _fail(self._busy.pop(task), StorageError(f"xrdfs {self._server} was ended", kind="transient"))
        self._look()

    async def close(self) -> None:
        """End every program; safe to repeat."""
        for task in list(self._busy):
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        while self._idle:
            await self._idle.pop().end()


def _fail(questions: Sequence[_Question], error: StorageError) -> None:
    for question in questions:
        question.failed(error)


class _Program:
    """One interactive xrdfs: a prompt ends what it says to a question."""

    def __init__(self) -> None:
        self._child: asyncio.subprocess.Process | None = None
        self._said = bytearray()

    async def ask(self, server: str, questions: Sequence[_Question]) -> bool:
        """Put questions; give each its answer as it comes. Return whether the program is still good."""
        if self._child is None:
            await self._begin(server)
        child = self._child
        assert child is not None
        assert child.stdin is not None
        child.stdin.write("".join(" ".join(question.words) + "\n" for question in questions).encode())
        good = True
        for question in questions:
            said = (await self._answer()).decode(errors="replace")
            good &= question.answered(server, said.partition("\n")[2])  # the first line repeats the question
        return good

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
        """Return what is said before the next prompt."""
        assert self._child is not None
        assert self._child.stdout is not None
        searched = 0
        while not (found := _PROMPT.search(self._said, searched)):
            searched = self._said.rfind(b"\n") + 1
            block = await self._child.stdout.read(1 << 16)
            if not block or len(self._said) > ANSWER_CAP:
                raise StorageError(f"xrdfs ended: {self._said[-500:].decode(errors='replace')}", kind="transient")
            self._said += block
        answer = bytes(self._said[: found.start()])
        del self._said[: found.end()]
        return answer

    async def end(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            self._said.clear()
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
            await child.communicate()

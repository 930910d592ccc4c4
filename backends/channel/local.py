"""The channel to this machine: commands are child processes."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import cast

from backends.channel.base import COMMAND_S, OUTPUT_CAP, Answer, ChannelState, Cut, Flooded, OverBudget, Unreachable
from backends.channel.files import SmallFiles
from backends.channel.pace import Pace
from backends.channel.turns import Turns
from config.site_settings import Host

LOCAL = "local"
"""The name under which this machine is known without a table of its own."""

NO_LIMIT = 10**9
"""Calls per hour where no table of this name says how many."""

GONE_S = 1.0
"""A killed process is waited for so long, in seconds; one that hangs in the kernel cannot hold up the agent."""

KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a command sees of the agent's environment, with LC_*: its secrets are none of theirs."""


class LocalChannel(SmallFiles):
    """Runs commands on this machine, each as leader of a session of its own."""

    host = LOCAL

    def __init__(self, settings: Host | None = None) -> None:
        settings = settings or Host(calls_per_hour=NO_LIMIT)
        self._pace = Pace(settings.commands_at_once, settings.calls_per_hour)
        self._turns = Turns(lambda: self._pace.slots)
        self._children: set[_Child] = set()
        self._calls = self._failures = 0
        self._answer_s = 0.0

    async def open(self) -> None:
        """Nothing is needed."""

    async def close(self) -> None:
        for child in self._children:
            child.fail(Cut("killed: the channel was closed"))

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float = COMMAND_S,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        began = time.monotonic()
        if (wait := self._pace.wait_s(began)) > 0:
            text = f"host {LOCAL} had its {self._pace.per_hour} calls of this hour; the next in {wait:.0f} s"
            raise OverBudget(text, retry_after_s=wait)
        self._calls += 1
        self._pace.called(began)
        started = False
        try:
            async with asyncio.timeout(deadline_s), self._turn(argv[0]):
                started = True
                await asyncio.sleep(self._pace.rest_s)
                return await self._once(argv, stdin, env or {})
        except TimeoutError:
            self._failures += 1
            if not started:
                text = f"{argv[0]}: no turn within {deadline_s:g} s, {self._turns.running} commands run already"
                raise Unreachable(text) from None
            raise Cut(f"{argv[0]}: no end within {deadline_s:g} s; it was killed") from None

    def state(self) -> ChannelState:
        return ChannelState(
            host=LOCAL,
            kind="local",
            state="open",
            calls=self._calls,
            calls_last_hour=self._pace.calls_last_hour(time.monotonic()),
            calls_per_hour_limit=self._pace.per_hour if self._pace.per_hour != NO_LIMIT else None,
            failures=self._failures,
            running=len(self._children),
            waiting=self._turns.waiting,
            slots=self._pace.slots,
            answer_s=self._answer_s,
        )

    @contextlib.asynccontextmanager
    async def _turn(self, program: str) -> AsyncIterator[None]:
        await self._turns.take()
        began = time.monotonic()
        try:
            yield
        finally:
            self._pace.answered(program, time.monotonic() - began)
            self._turns.give()

    async def _once(self, argv: Sequence[str], stdin: bytes, env: Mapping[str, str]) -> Answer:
        began = time.monotonic()
        try:
            transport, child = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Child(argv[0]), *argv, start_new_session=True, cwd=_home(), env={**_environment(), **env}
            )
        except OSError as fault:  # what a shell would answer
            return Answer(127 if isinstance(fault, FileNotFoundError) else 126, b"", str(fault).encode())
        self._children.add(child)
        try:
            child.feed(stdin)
            answer = await child.ended
        finally:
            self._children.discard(child)
            if not child.ended.done() or child.ended.cancelled() or child.ended.exception():
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(transport.get_pid(), signal.SIGKILL)
            transport.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(GONE_S):
                    await child.gone.wait()
        self._answer_s = time.monotonic() - began
        return answer


class _Child(asyncio.SubprocessProtocol):
    """Gathers what one child process says; `ended` is its answer, once it and its pipes are closed."""

    def __init__(self, what: str) -> None:
        self.ended: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.gone = asyncio.Event()
        self._what = what
        self._said = {1: bytearray(), 2: bytearray()}
        self._transport: asyncio.SubprocessTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def feed(self, stdin: bytes) -> None:
        assert self._transport is not None
        pipe = cast("asyncio.WriteTransport", self._transport.get_pipe_transport(0))
        pipe.write(stdin)
        pipe.close()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        said = self._said[fd]
        said += data
        if len(said) > OUTPUT_CAP:
            said.clear()
            self.fail(Flooded(f"{self._what}: more than {OUTPUT_CAP} bytes of output; it was killed"))

    def connection_lost(self, _: Exception | None) -> None:
        self.gone.set()
        if self._transport is not None and not self.ended.done():
            code = self._transport.get_returncode()
            self.ended.set_result(Answer(-1 if code is None else code, bytes(self._said[1]), bytes(self._said[2])))

    def fail(self, error: Exception) -> None:
        if not self.ended.done():
            self.ended.set_exception(error)


def _home() -> str:
    home = os.path.expanduser("~")
    return home if os.path.isdir(home) else "/"


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in KEPT or name.startswith("LC_")}

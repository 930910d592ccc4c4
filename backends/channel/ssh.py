"""The channel to another host: commands over one kept-alive SSH connection that everything shares.

Centres ban users for SSH load (AiiDA made 13,671 connections in a day), so the connection is one, commands at once are few,
and calls per hour are counted and bounded.
"""

import asyncio
import contextlib
import math
import secrets
from collections.abc import Mapping, Sequence
from typing import cast

import asyncssh

from backends.channel.base import (
    COMMAND_S,
    OUTPUT_CAP,
    Answer,
    ChannelState,
    Cut,
    Flooded,
    OverBudget,
    Unreachable,
)
from backends.channel.command import line, own_words
from backends.channel.connection import Connection
from backends.channel.files import SmallFiles
from backends.channel.pace import Pace
from backends.channel.session import Session
from backends.channel.turns import Turns
from config.site_settings import Host
from supervisors import Clock

REAP_S = 10.0
"""A host gets so long to say that a command we gave up is dead, in seconds; `timeout` there ends it in any case."""
SIGNAL_S = 1.0
"""It gets so long to heed the signal of the SSH protocol before `kill` is run."""


FULL_HOUSE_S = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Waits before another try when the server has as many sessions as it takes (MaxSessions in sshd_config(5))."""

Opening = asyncio.Task[Session]
"""A session on its way: the host may have begun the command, we do not know yet."""


class SshChannel(SmallFiles):
    """Runs commands at one host."""

    def __init__(self, settings: Host, connection: Connection, clock: Clock) -> None:
        self.host = connection.name
        self.connection = connection
        self._clock = clock
        self._pace = Pace(settings.commands_at_once, settings.calls_per_hour)
        self._turns = Turns(lambda: self._pace.slots)
        self._mark = f"prodagent-{secrets.token_hex(6)}"
        self._reapers: set[asyncio.Task[None]] = set()
        self._calls = self._failures = self._sent = self._received = 0
        self._answer_s = 0.0
        self._opening_sftp = asyncio.Lock()
        self._sftp: tuple[asyncssh.SSHClientConnection, asyncssh.SFTPClient] | None = None

    async def open(self) -> None:
        await self.connection.get()

    async def sftp(self) -> asyncssh.SFTPClient:
        """Return the one SFTP session on the shared connection. Raise ChannelError; asyncssh.Error comes from its use."""
        connection = await self.connection.get()
        async with self._opening_sftp:
            if self._sftp is None or self._sftp[0] is not connection:
                try:
                    self._sftp = connection, await connection.start_sftp_client()
                except (asyncssh.Error, OSError) as error:
                    raise Unreachable(f"host {self.host}: no SFTP session: {error}") from error
            return self._sftp[1]

    async def close(self) -> None:
        self._sftp = None
        await asyncio.gather(*self._reapers)
        await self.connection.close()

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float = COMMAND_S,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        text = line(argv, self._mark, deadline_s, env or {})
        self._within_budget()
        opening: Opening | None = None
        try:
            async with asyncio.timeout(deadline_s):
                await self._turns.take()
                try:
                    opening = await self._start(text)
                finally:
                    if opening is None:
                        self._turns.give()
                return await self._follow(opening, argv[0], stdin)
        except TimeoutError:
            self._failures += 1
            text = f"host {self.host}: {argv[0]}"
            if opening is None:
                raise Unreachable(f"{text}: not begun within {deadline_s:g} s; {self._why_not()}") from None
            raise Cut(f"{text}: no end within {deadline_s:g} s; it is being killed") from None

    def state(self) -> ChannelState:
        now, connection = self._clock.monotonic(), self.connection
        next_try = connection.next_try_in
        return ChannelState(
            host=self.host,
            kind="ssh",
            state=connection.state,
            reason=connection.reason,
            since=connection.since,
            next_try_at=self._clock.time() + next_try if 0 < next_try < math.inf else None,
            connections=connection.made,
            calls=self._calls,
            calls_last_hour=self._pace.calls_last_hour(now),
            calls_per_hour_limit=self._pace.per_hour,
            failures=self._failures + connection.failures,
            running=self._turns.running,
            waiting=self._turns.waiting,
            slots=self._pace.slots,
            answer_s=self._answer_s,
            bytes_sent=self._sent,
            bytes_received=self._received,
        )

    def _within_budget(self) -> None:
        wait = self._pace.wait_s(self._clock.monotonic())
        if wait > 0:
            text = f"host {self.host} had its {self._pace.per_hour} calls of this hour; the next in {wait:.0f} s"
            raise OverBudget(text, retry_after_s=wait)

    def _why_not(self) -> str:
        return self.connection.reason or f"{self._turns.running} commands run, {self._turns.waiting} wait"

    async def _start(self, text: str) -> Opening:
        """Return the opening of a session; what is raised before that never reached the host."""
        await asyncio.sleep(self._pace.rest_s)
        connection = await self.connection.get()
        self._within_budget()
        self._calls += 1
        self._pace.called(self._clock.monotonic())
        return asyncio.create_task(_session(connection, text), name=f"session {self.host}")

    async def _follow(self, opening: Opening, program: str, stdin: bytes) -> Answer:
        began = self._clock.monotonic()
        try:
            session = await asyncio.shield(opening)
            session.feed(stdin)
            await session.ended.wait()
            answer = self._read(session, program)
        except asyncssh.ChannelOpenError as error:
            self._failures += 1
            if self.connection.state == "open":
                raise Unreachable(f"host {self.host}: {program} was not begun: {error.reason}") from error
            raise Cut(f"host {self.host}: the connection was lost when {program} began") from error
        except (asyncssh.Error, OSError) as error:
            self._failures += 1
            raise Cut(f"host {self.host}: {program}: {error}") from error
        finally:
            taken = self._clock.monotonic() - began
            self._pace.answered(program, taken)
            self._settle(opening)
        self._answer_s = taken if not self._answer_s else 0.9 * self._answer_s + 0.1 * taken
        self._sent += len(stdin)
        return answer

    def _read(self, session: Session, program: str) -> Answer:
        """Return what an ended session said."""
        self._received += len(session.out) + len(session.err)
        if session.flooded:
            raise Flooded(f"host {self.host}: {program} said more than {OUTPUT_CAP} bytes; it is being killed")
        if session.fault is not None or session.code is None:
            raise Cut(
                f"host {self.host}: the connection was lost while {program} ran: {session.fault or 'no exit status'}"
            )
        out, err = own_words(bytes(session.out), self._mark), own_words(bytes(session.err), self._mark)
        if out is None or err is None:
            said = (bytes(session.err) or bytes(session.out)).decode(errors="replace").strip()[-500:]
            raise Unreachable(f"host {self.host}: its shell did not begin {program}, exit code {session.code}: {said}")
        return Answer(session.code, out[0], err[0])

    # what we gave up waiting for

    def _settle(self, opening: Opening) -> None:
        """Give the turn back: at once, or when what may still run there has been killed."""
        if opening.done() and (opening.cancelled() or opening.exception() is not None or opening.result().closed):
            self._turns.give()
            return
        reaper = asyncio.create_task(self._reap(opening), name=f"reap {self.host}")
        self._reapers.add(reaper)
        reaper.add_done_callback(self._reaped)

    def _reaped(self, reaper: asyncio.Task[None]) -> None:
        self._reapers.discard(reaper)
        self._turns.give()

    async def _reap(self, opening: Opening) -> None:
        """Kill a command: by the protocol's signal, else by `kill` and the number that stands with its mark."""
        with contextlib.suppress(asyncssh.Error, OSError, TimeoutError):
            async with asyncio.timeout(REAP_S):
                session = await opening
                try:
                    session.kill()
                    if not await session.over(SIGNAL_S):
                        await self._kill(session)
                finally:
                    session.close()
        if not opening.done():
            opening.cancel()

    async def _kill(self, session: Session) -> None:
        marked = own_words(bytes(session.err), self._mark)
        if marked is None or not marked[1].isdecimal():
            return
        connection = await self.connection.get()
        command = f"exec sh -c 'kill -s KILL -- \"-$0\"' {marked[1]}"
        killer = await _session(connection, command)
        await killer.over(REAP_S)
        killer.close()
        await session.over(SIGNAL_S)


async def _session(connection: asyncssh.SSHClientConnection, command: str) -> Session:
    """Begin a command. An sshd counts an ended session for a moment longer than we do: a full house is asked again."""
    for pause in FULL_HOUSE_S:
        try:
            return await _begin(connection, command)
        except asyncssh.ChannelOpenError as error:
            if error.code != asyncssh.OPEN_CONNECT_FAILED or connection.is_closed():
                raise
        await asyncio.sleep(pause)
    return await _begin(connection, command)


async def _begin(connection: asyncssh.SSHClientConnection, command: str) -> Session:
    return cast("Session", (await connection.create_session(Session, command, encoding=None))[1])

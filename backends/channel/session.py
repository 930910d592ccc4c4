"""Gathers what one command over SSH says."""

import asyncio
import contextlib
import signal as signals

import asyncssh

from backends.channel.base import OUTPUT_CAP


class Session(asyncssh.SSHClientSession[bytes]):
    """One command on its channel.

    `ended`: there is nothing more to wait for, because the channel is closed (`closed`, with the reason in `fault` if it
    was not the host's wish) or because the command said too much (`flooded`). `code` is None without an exit status.
    """

    def __init__(self) -> None:
        self.ended = asyncio.Event()
        self._over = asyncio.Event()
        self.fault: Exception | None = None
        self.code: int | None = None
        self.flooded = False
        self.closed = False
        self.out = bytearray()
        self.err = bytearray()
        self._channel: asyncssh.SSHClientChannel[bytes] | None = None

    def connection_made(self, chan: asyncssh.SSHClientChannel[bytes]) -> None:
        self._channel = chan

    def feed(self, stdin: bytes) -> None:
        assert self._channel is not None
        with contextlib.suppress(BrokenPipeError):  # it ended without having read: its exit code comes all the same
            self._channel.write(stdin)
            self._channel.write_eof()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self.flooded:
            return
        said = self.out if datatype is None else self.err
        said += data
        if len(said) > OUTPUT_CAP:
            self.flooded = True
            self.out.clear()
            self.ended.set()

    def exit_status_received(self, status: int) -> None:
        self.code = status

    def exit_signal_received(self, signal: str, *_: object) -> None:
        number = signals.Signals.__members__.get(f"SIG{signal}")
        self.code = -number.value if number else -1

    def connection_lost(self, exc: Exception | None) -> None:
        self.fault = exc
        self.closed = True
        self.ended.set()
        self._over.set()

    async def over(self, seconds: float) -> bool:
        """Wait for the channel to close; return whether it did."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), seconds)
        return self.closed

    def kill(self) -> None:
        """Ask the host to kill the command's process group; not every host does (PROTOCOL of OpenSSH, session signals)."""
        if self._channel is not None and not self._channel.is_closing():
            self._channel.kill()

    def close(self) -> None:
        if self._channel is not None:
            self._channel.abort()

"""A wire to a MySQL server that can be cut, or fall silent, at any command."""

import asyncio
import contextlib
from collections.abc import Callable
from enum import Enum


class Fate(Enum):
    """What becomes of a command of the client."""

    PASS = "it arrives and is answered"
    LOST = "the wire is cut before it arrives"
    UNANSWERED = "it arrives, and the wire is cut before its answer does"
    SILENT = "it arrives, and nothing is heard any more"


class Wire:
    """Listens on `port`; `judge` decides the fate of each command (its bytes), in order, on all connections."""

    def __init__(self, server_port: int) -> None:
        self.judge: Callable[[bytes], Fate] = lambda _: Fate.PASS
        self.down = False
        self.commands: list[bytes] = []
        self.port = 0
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "Wire":
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                if not self.down:
                    await self._carry(client, back)
        finally:
            back.close()

    async def _carry(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_connection("127.0.0.1", self._server_port)
        answers = asyncio.create_task(_pour(server, back))
        try:
            while True:
                head = await client.readexactly(4)
                packet = await client.readexactly(int.from_bytes(head[:3], "little"))
                fate = self._fate(head, packet)
                if fate is Fate.LOST:
                    return
                if fate is not Fate.PASS:
                    answers.cancel()
                    await asyncio.gather(answers, return_exceptions=True)
                forth.write(head + packet)
                await forth.drain()
                if fate is Fate.UNANSWERED:
                    await server.read(1)  # the server has done it
                    return
        finally:
            forth.close()
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)

    def _fate(self, head: bytes, packet: bytes) -> Fate:
        """Only queries (https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_com_query.html) have one."""
        if head[3] != 0 or packet[:1] != b"\x03":
            return Fate.PASS
        self.commands.append(packet[1:])
        return self.judge(packet[1:])


async def _pour(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(65536):
        sink.write(data)
        await sink.drain()
    sink.close()

"""The sockets that the agent's pages are behind: they listen before the pages are imported."""

import asyncio
import socket
from collections.abc import Callable

from supervisors.listening import listen


class Door:
    """Listens from `open` to `close`; whoever comes meanwhile waits to be let in."""

    def __init__(self, host: str, sockets: list[socket.socket]) -> None:
        self.host = host
        self.sockets = sockets

    @classmethod
    async def open(cls, host: str, port: int) -> "Door":
        """Listen on every address of a host, on the same free port if 0. Raises OSError."""
        return cls(host, await listen(host, port))

    @property
    def port(self) -> int:
        return int(self.sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """The address for clients on this machine."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    def watch(self, knocked: Callable[[], None]) -> None:
        """Call `knocked` once, when the first caller is there."""

        def once() -> None:
            self.unwatch()
            knocked()

        for each in self.sockets:
            asyncio.get_running_loop().add_reader(each, once)

    def unwatch(self) -> None:
        """Stop looking for callers. Safe to repeat."""
        for each in self.sockets:
            if each.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(each)

    def close(self) -> None:
        """Stop listening. Safe to repeat."""
        self.unwatch()
        for each in self.sockets:
            each.close()

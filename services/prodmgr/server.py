"""Start and stop a ProdMgr."""

import asyncio
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from services.prodmgr.accountant import Accountant
from services.prodmgr.web import Desk
from storage.accounts import PRODMGR
from storage.store import Store
from supervisors import Clock
from supervisors.listening import AT_ONCE, WAITING, listen


class Server:
    """A ProdMgr that listens. `start` and `stop` may be repeated."""

    def __init__(
        self, store_url: str, host: str, port: int, *, tls: ssl.SSLContext | None = None, clock: Clock | None = None
    ) -> None:
        self._store_url = store_url
        self._host = host
        self._port = port
        self._tls = tls
        self._clock = clock
        self._store: Store | None = None
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._port

    @property
    def address(self) -> str:
        """The URL for clients."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def start(self) -> None:
        """Open the store and listen, on a free port if 0. Raises StoreError or OSError, with nothing left open."""
        if self._runner is not None:
            return
        self._store = await Store.open(self._store_url, PRODMGR, clock=self._clock)
        application = Desk(Accountant(self._store)).application()
        self._runner = web.AppRunner(application, handle_signals=False, access_log=None, shutdown_timeout=10.0)
        try:
            await self._runner.setup()
            for listening in await listen(self._host, self._port):
                await web.SockSite(self._runner, listening, ssl_context=self._tls, backlog=AT_ONCE).start()
                listening.listen(WAITING)
        except BaseException:
            await self.stop()
            raise
        self._port = int(self._runner.addresses[0][1])

    async def stop(self) -> None:
        """Finish the calls under way, then close the store."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._store is not None:
            await self._store.close()
            self._store = None


async def serve(server: Server, ready: Callable[[Server], None]) -> None:
    """Run until SIGTERM or SIGINT; `ready` is told when it listens."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await server.start()
    try:
        ready(server)
        await stop.wait()
    finally:
        await server.stop()


def write_port(path: Path, port: int) -> None:
    """Write the port so that a reader sees all of it or nothing."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(f"{port}\n")
    temporary.replace(path)

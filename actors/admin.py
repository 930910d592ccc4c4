"""Admin: shows the agent to operators and passes their commands on.

Serves pages, JSON, metrics and health on admin.host and admin.port; each command becomes a message to the actor
concerned and a line of the audit. While it serves, agent.json in the state directory holds its address and token. It listens
from its start on; what answers is imported when the first caller is there: an agent that comes back has other things to do.
Sends: SubmitWorkflow, HoldWorkflow, RetryJobs, KillJobs, ReplayLetters, DropLetters, Drain, AskDrain, Crash. Writes: the audit.
Settings: the [admin] table, agent.state.
"""

import asyncio
import contextlib
import os
import secrets
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import msgspec

from actors.admin_pages.door import Door
from actors.stage import Stage
from actors.world import World
from supervisors import ActorSystem

if TYPE_CHECKING:  # imported with the first caller
    from actors.admin_pages.server import Server

LIBRARIES = ("aiohttp.web", "jinja2", "prometheus_client")
"""What the pages are made with: half a second of imports, in a thread, while the loop goes on."""


class CannotListen(Exception):
    """The address is none of this machine's, or somebody listens there already."""


class AgentFile(msgspec.Struct, frozen=True, kw_only=True):
    """What agent.json tells commands on this machine; `started` in UTC epoch seconds."""

    pid: int
    url: str
    token: str
    started: float


class Admin(Stage):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.settings = world.settings.admin
        self.directory = Path(world.settings.agent.state)
        self.token = ""
        self.door: Door | None = None
        self.server: Server | None = None
        self._called = False

    async def on_start(self) -> None:
        await super().on_start()
        if not self.settings.enabled or self.system is None:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        host, port = self.settings.host, self.settings.port
        self.token = self._token()
        try:
            self.door = await Door.open(host, port)
        except OSError as error:
            raise CannotListen(
                f"admin: cannot listen on {host}:{port} ({error.strerror or error}); expected an address of this "
                "machine and a free port: set another one in [admin], 0 takes any"
            ) from None
        told = AgentFile(pid=os.getpid(), url=self.door.url, token=self.token, started=self._born(self.system))
        _write_private(self.directory / "agent.json", msgspec.json.encode(told))
        self.door.watch(self._knocked)
        self.log.info("serving %s", self.door.url)

    def _knocked(self) -> None:
        self._called = True
        self.hint(self.name)

    async def work(self) -> bool:
        """Let the first caller in."""
        if self._called and self.server is None and self.door is not None and self.system is not None:
            for library in LIBRARIES:
                await asyncio.to_thread(import_module, library)
            # our own in the loop's thread, for what msgspec looks at there (domain/types.py)
            from actors.admin_pages.desk import Desk
            from actors.admin_pages.server import Server

            desk = Desk(world=self.world, system=self.system, token=self.token, started=self._born(self.system))
            self.server = Server(desk, self.door)
            await self.server.start()
        return False

    async def on_stop(self) -> None:
        await self._close()

    async def on_failure(
        self,
        _exception_type: type[BaseException] | None,
        _exception_value: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        door, self.door = self.door, None
        server, self.server = self.server, None
        if door is not None:
            (self.directory / "agent.json").unlink(missing_ok=True)
        if server is not None:
            await server.stop()
        if door is not None:
            door.close()

    def _born(self, system: ActorSystem) -> float:
        """Return when the agent was started: it may be older than this actor."""
        return self.clock.time() - (self.clock.monotonic() - system.born)

    def _token(self) -> str:
        """Return the token; it outlives restarts, so that open pages go on. Without its file a new one is made."""
        path = self.directory / "admin.token"
        with contextlib.suppress(OSError):
            if len(kept := path.read_text(encoding="ascii", errors="replace").strip()) >= 32:
                return kept
        token = secrets.token_urlsafe(32)
        _write_private(path, token.encode())
        return token


def _write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, so that others see all of it or nothing."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(path)

"""Looks into the agent from outside: its store, read only and also while it is away, and its administration."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec

from domain.events import all_events
from services.demo.options import DemoError
from storage import log, views
from storage.engine import Connection
from storage.engines.sqlite import SqliteReader
from storage.errors import StoreAway
from storage.log import Logged

T = TypeVar("T")
PATIENCE_S = 20.0


class StoreLook:
    """Reads the agent's store, from the moment on that there is one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._reader: SqliteReader | None = None
        self._position = 0
        self._kinds = list(all_events().values())

    async def close(self) -> None:
        if self._reader is not None:
            await self._reader.close()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Answer a question; a store that is just being opened by a fresh agent is asked again for a while."""
        if self._reader is None:
            self._reader = SqliteReader(self._path, threads=1)
        begun = time.monotonic()
        while True:
            try:
                return await self._reader.read(query)
            except StoreAway as error:
                if time.monotonic() - begun > PATIENCE_S:
                    raise DemoError(f"the store {self._path} cannot be read: {error}") from error
                await asyncio.sleep(0.1)

    async def job(self, identity: int) -> views.JobView:
        """A job with all that happened to it."""
        return await self.read(lambda c: views.one_job(c, identity))

    async def file(self, name: int | str) -> views.FileView:
        """A file by id or LFN with all that happened to it."""
        return await self.read(lambda c: views.one_file(c, name))

    async def totals(self) -> views.Totals:
        """How far everything is; nothing while there is no store yet."""
        if not self._path.exists():
            return views.Totals()
        return await self.read(lambda c: views.totals(c, time.time()))

    async def news(self, limit: int = 1000) -> list[Logged]:
        """Return the facts since the last call."""
        if not self._path.exists():
            return []
        found = await self.read(lambda c: log.after(c, self._position, self._kinds, limit))
        if found:
            self._position = found[-1].id
        return found


class AdminLook:
    """Speaks to the agent's administration as an operator's program would."""

    def __init__(self, announcement: Path) -> None:
        self._announcement = announcement

    def announced(self) -> dict[str, Any]:
        """Return what the agent says of itself in its agent.json; empty if there is none."""
        try:
            found = msgspec.json.decode(self._announcement.read_bytes())
        except (OSError, msgspec.DecodeError):
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def url(self) -> str:
        return str(self.announced().get("url", "")).rstrip("/")

    async def actors(self) -> dict[str, dict[str, Any]]:
        """Return the actors by name, groups of actors left out; empty while nobody answers."""
        try:
            found = await self._call("GET", "/api/v1/actors")
        except DemoError:
            return {}
        listed = found["actors"] if isinstance(found, dict) else found
        return {actor["name"]: actor for actor in listed if actor.get("kind", "actor") == "actor"}

    async def crash(self, actor: str) -> None:
        """Make an actor raise in its handler."""
        await self._call("POST", f"/api/v1/actors/{actor}/crash")

    async def _call(self, method: str, path: str) -> Any:
        known = self.announced()
        if not known:
            raise DemoError("the agent has not said where its administration is")
        headers = {"Authorization": f"Bearer {known.get('token', '')}", "X-Prodagent-Who": "demo"}
        try:
            async with (
                aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=5.0)) as session,
                session.request(method, self.url + path) as answer,
            ):
                body = await answer.read()
                if answer.status >= 400:
                    raise DemoError(f"{method} {path}: {answer.status} {body.decode(errors='replace')[:300]}")
                return msgspec.json.decode(body) if body else None
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            raise DemoError(f"{method} {path}: {error or 'no answer in time'}") from error

"""Storage elements of every kind, on real servers: each call of `element` is an empty area."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from backends.channel.hosts import Hosts
from backends.storage_element.base import StorageElement
from backends.storage_element.memory import MemorySettings, MemoryStorage
from backends.storage_element.posix import PosixSettings, PosixStorage
from backends.storage_element.sftp import SftpSettings, SftpStorage
from backends.storage_element.webdav import WebdavSettings, WebdavStorage
from backends.storage_element.xrootd import XrootdSettings, XrootdStorage
from config.site_settings import Host
from tests.real.daemon import Daemon
from tests.real.sshd import Sshd
from tests.real.webdav import Webdav
from tests.real.xrootd import Xrootd


class Place:
    """A server, and the directory in which its areas lie."""

    def __init__(self, kind: str, data: Path, server: Sshd | Daemon | None = None, **options: int) -> None:
        self.kind = kind
        self.server = server
        self.data = data
        self._options = options
        self._areas = itertools.count()

    @asynccontextmanager
    async def element(self) -> AsyncIterator[StorageElement]:
        """Yield an element on an area of its own, and leave no connection behind."""
        number = next(self._areas)
        self.area = self.data / f"area{number}"
        hosts = Hosts({"place": self._host()})
        made = self._make(hosts)
        try:
            yield made
        finally:
            await made.close()
            await hosts.close()
            await asyncio.sleep(0)

    def _host(self) -> Host:
        return self.server.host(retry_base_s=0.05) if isinstance(self.server, Sshd) else Host()

    def _make(self, hosts: Hosts) -> StorageElement:
        name, server = self.area.name, self.server
        if isinstance(server, Sshd):
            return SftpStorage(SftpSettings(host="place", root=str(self.area), **self._options), hosts=hosts)
        if isinstance(server, Xrootd) and server.web_port is not None:
            server.own(self.area)
            return WebdavStorage(WebdavSettings(url=f"http://127.0.0.1:{server.web_port}/store/{name}"))
        if isinstance(server, Xrootd):
            return XrootdStorage(XrootdSettings(url=f"root://127.0.0.1:{server.port}//store/{name}"))
        if isinstance(server, Webdav):
            self.area.mkdir(exist_ok=True)
            return WebdavStorage(WebdavSettings(url=f"http://127.0.0.1:{server.port}/{name}", **self._options))
        return (
            MemoryStorage(MemorySettings())
            if self.kind == "memory"
            else PosixStorage(PosixSettings(root=str(self.area)))
        )


KINDS = ["posix", "memory", "sftp", "sftp-child", "xrootd", "xrootd-sumless", "webdav", "webdav-child", "webdav-sums"]
REMOTE = KINDS[2:]


@contextmanager
def place(kind: str, directory: Path, data: Path | None = None) -> Iterator[Place]:
    """Run what a kind needs. `data`: where its files shall lie, else a directory that goes with it."""
    child = {"child_from_bytes": 0} if kind.endswith("-child") else {}
    if kind.startswith("sftp"):
        with Sshd(directory) as server:
            yield Place(kind, data or directory, server, **child)
    elif kind.startswith("xrootd"):
        with Xrootd(checksum=kind == "xrootd", data=data) as server:
            yield Place(kind, server.data / "store", server)
    elif kind == "webdav-sums":  # a server that answers Want-Digest
        with Xrootd(web=True, data=data) as server:
            yield Place(kind, server.data / "store", server)
    elif kind.startswith("webdav"):
        with Webdav(data=data) as server:
            yield Place(kind, server.data, server, **child)
    else:
        yield Place(kind, data or directory)

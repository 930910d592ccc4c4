"""A storage element behind SSH: files below one directory of a host.

What is small goes through the host's one shared connection; a large file goes by OpenSSH's own `sftp` as a child process,
which encrypts several times faster than Python can and leaves the agent's loop alone.
"""

import asyncio
import contextlib
import posixpath
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import asyncssh
import msgspec
from msgspec import Meta

from backends.channel.base import ChannelError
from backends.channel.hosts import Hosts
from backends.storage_element import child, names
from backends.storage_element.base import READ_BACK, Checksums, Landed, StorageError
from backends.storage_element.batches import Batches, Move
from backends.storage_element.sums import Sums, compare, forget, size_of, sums_of, while_moved
from config.site_settings import Host

BLOCK = 131072
"""Bytes of one SFTP request: OpenSSH closes the connection at 262144 (its packet limit, seen with 9.2p1)."""

READ_AT_ONCE = 4 << 20
"""Bytes that are asked for together, in many requests at once."""

SUM = "exec xargs -0 sha256sum --"
SUM_LARGE = f"command -v openssl >/dev/null || {SUM}; exec xargs -0 openssl dgst -sha256 -r"
LARGE = 30_000_000
"""openssl takes 20 to 100 ms to begin, and is then six times as fast as coreutils: 1 and 6 s of CPU for a gigabyte."""

SUM_S = 3600.0
"""A host gets so long to sum up what arrived together, in seconds: at most a gigabyte, or one file."""


class SftpSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`host` names a table of [hosts]; `root` is the directory there below which every LFN lies. Worker nodes see the same
    directory (`nodes_mount`), or write to it by SFTP, too. A file of at least `child_from_bytes`, and many small ones
    together, go by OpenSSH's sftp; at most `children` of them run, each with a connection of its own."""

    host: str
    root: Annotated[str, Meta(pattern="^/.*[^/]$")]
    child_from_bytes: Annotated[int, Meta(ge=0)] = 8_000_000
    children: Annotated[int, Meta(ge=1)] = 2
    nodes_mount: bool = True

    def on_nodes(self, hosts: Mapping[str, Host]) -> dict[str, Any]:
        """Return the rule for the worker runtime: what is a host by name to us is an address to a node."""
        if self.nodes_mount:
            return {"kind": "posix", "root": self.root}
        host = hosts[self.host]
        known = {"user": host.user, "port": host.port}
        given = {name: value for name, value in known.items() if value is not None}
        return {"kind": "sftp", "root": self.root, "host": host.address or self.host, **given}


class SftpStorage:
    """Files below one directory of a host that is reached by SSH."""

    def __init__(self, settings: SftpSettings, *, hosts: Hosts) -> None:
        self._settings = settings
        self._channel = hosts.ssh(settings.host)
        self._words = ["-q", "-b", "-", *hosts.openssh(settings.host), settings.host]
        self._batches = Batches(self._upload, settings.children)
        self._summing = Batches(self._ask_sums, 2)
        self._asks_server = True
        self._told: dict[str, str] = {}
        self._folders: set[str] = set()

    def pfn(self, lfn: str) -> str:
        return self._settings.root + names.checked(lfn)

    def local_path(self, lfn: str) -> Path | None:
        self.pfn(lfn)
        return None

    async def close(self) -> None:
        """The connection is the host's, and ends with it."""

    async def size(self, lfn: str) -> int | None:
        path = self.pfn(lfn)
        async with self._session(lfn) as sftp:
            return await _size(sftp, path)

    async def checksums(self, lfn: str) -> Checksums:
        path = self.pfn(lfn)
        async with self._session(lfn) as sftp:
            return (await _read(sftp, path)).checksums

    async def receive(self, source: Path, lfn: str, fence: str) -> Landed:
        temporary = self._settings.root + names.temporary(lfn, fence)
        size = await asyncio.to_thread(size_of, source)
        try:
            async with self._session(lfn) as sftp:
                sent, move = await while_moved(source, self._batches.move(source, temporary, size))
                method = await self._verify(sftp, sent, move)
        except StorageError as error:
            raise await self._cleared(error, temporary, size) from error
        return Landed(temporary=temporary, size=sent.size, checksums=sent.checksums, method=method)

    async def publish(self, landed: Landed, lfn: str) -> None:
        path = self.pfn(lfn)
        if not names.beside(landed.temporary, path):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        async with self._session(lfn) as sftp:
            if await self._refuses_to_overwrite() or await _size(sftp, path) is None:
                # not the posix-rename extension: the plain one of OpenSSH links and unlinks, and never overwrites
                with contextlib.suppress(asyncssh.SFTPFailure):
                    await sftp.rename(landed.temporary, path)
                    return
            if await _size(sftp, path) is not None:
                raise StorageError(f"{lfn} exists", kind="exists")
            raise StorageError(f"{lfn}: the server did not rename {landed.temporary}", kind="transient")

    async def fetch(self, lfn: str, target: Path) -> Checksums:
        path = self.pfn(lfn)
        try:
            async with self._session(lfn) as sftp:
                size = await _size(sftp, path)
                if size is None:
                    raise StorageError(f"{lfn} is not there", kind="missing")
                if size >= self._settings.child_from_bytes and _plain(path, str(target)):
                    ended = await child.run(["sftp", *self._words], stdin=f'get "{path}" "{target}"\n'.encode())
                    if ended.code:
                        raise _fault(self._settings.host, ended.said)
                    return (await sums_of(target)).checksums
                return (await _read(sftp, path, target)).checksums
        except BaseException:
            forget(target)
            raise

    async def discard(self, lfn: str, fence: str) -> None:
        temporary = self._settings.root + names.temporary(lfn, fence)
        async with self._session(lfn) as sftp:
            await _remove(sftp, temporary)

    async def delete(self, lfn: str) -> bool:
        path = self.pfn(lfn)
        async with self._session(lfn) as sftp:
            return await _remove(sftp, path)

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        folder = names.folder(prefix)
        async with self._session(prefix) as sftp:
            found = [each async for each in _walk(sftp, self._settings.root + folder)]
        return sorted((path[len(self._settings.root) :], size) for path, size in found)

    @contextlib.asynccontextmanager
    async def _session(self, what: str) -> AsyncIterator[asyncssh.SFTPClient]:
        """Yield the shared SFTP session, and say what goes wrong with it in the words of the contract."""
        try:
            yield await self._channel.sftp()
        except ChannelError as error:
            raise StorageError(str(error), kind="transient" if error.transient else "permission") from error
        except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath) as error:
            raise StorageError(f"{what} is not there: {error.reason}", kind="missing") from error
        except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect, asyncssh.SFTPNotADirectory) as error:
            raise StorageError(f"{what}: {error.reason}", kind="permission") from error
        except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
            raise StorageError(f"{what}: {error.reason}", kind="space") from error
        except (asyncssh.Error, OSError) as error:
            raise StorageError(f"{what}: {error}", kind="transient") from error

    async def _refuses_to_overwrite(self) -> bool:
        """Whether the server is known for a rename that never overwrites; others are looked at first."""
        connection = await self._channel.connection.get()
        return "OpenSSH" in str(connection.get_extra_info("server_version"))

    async def _upload(self, moves: Sequence[Move]) -> None:
        """Write files under their temporary names: a lone small one ourselves, all others by OpenSSH's sftp (TX-10)."""
        sftp = await self._channel.sftp()
        for folder in {posixpath.dirname(move.target) for move in moves} - self._folders:
            await sftp.makedirs(folder, exist_ok=True)
            self._folders.add(folder)
        small = len(moves) == 1 and moves[0].size < self._settings.child_from_bytes
        by_child = [] if small else [move for move in moves if _plain(str(move.source), move.target)]
        try:
            await self._by_child(by_child)
            for move in moves:
                if move not in by_child:
                    await _write(sftp, move.source, move.target)
                move.landed()
        except (asyncssh.Error, StorageError):
            self._folders.clear()
            raise

    async def _by_child(self, moves: Sequence[Move]) -> None:
        if not moves:
            return
        script = "".join(
            f'-put "{move.source}" "{move.target}"\n' for move in moves
        )  # "-": one that fails stops no other
        ended = await child.run(["sftp", *self._words], stdin=script.encode())
        complaints = ended.err.decode(errors="replace").splitlines()  # what it would do is on standard output
        for move in moves:
            complaint = [line for line in complaints if move.target in line]
            if complaint or ended.code:
                move.failed(_fault(self._settings.host, " ".join(complaint) or ended.said))
                self._folders.clear()

    async def _verify(self, sftp: asyncssh.SFTPClient, sent: Sums, move: Move) -> str:
        """Compare what lies there with what was sent; return by which method (TX-09)."""
        path = move.target
        if self._asks_server and (sent.size >= self._settings.child_from_bytes or not move.alone):
            size, _ = await asyncio.gather(_size(sftp, path), self._summing.move(Path(), path, sent.size))
            if self._told.pop(path, "") == sent.checksums.sha256 and size == sent.size:
                return "server sha256"
        # without a sum of the server's, and before a wrong one is believed: a shell may see other files than SFTP does
        found = await _read(sftp, path)
        compare(path, sent, found.size, found.checksums)
        return READ_BACK

    async def _ask_sums(self, moves: Sequence[Move]) -> None:
        """Have files summed up there, many by one command; none is told if the account may not run it."""
        listed = "\0".join(move.target for move in moves).encode()
        command = SUM_LARGE if sum(move.size for move in moves) >= LARGE else SUM
        try:
            answer = await self._channel.run(["sh", "-c", command], stdin=listed, deadline_s=SUM_S)
        except ChannelError as error:
            if error.may_have_run and error.transient:
                raise
        else:
            self._asks_server = answer.code not in (126, 127)
            for line in answer.out.decode(errors="replace").splitlines():
                told, _, path = line.partition(" ")
                self._told[path[1:]] = told  # after a blank or a star
        for move in moves:
            move.landed()

    async def _cleared(self, error: StorageError, temporary: str, size: int) -> StorageError:
        """Remove what a failed try left; say of a failure without a name whether the disk is full (SFTP 3 has no word)."""
        with contextlib.suppress(StorageError):
            async with self._session(temporary) as sftp:
                left = await _size(sftp, temporary)
                await _remove(sftp, temporary)
                room = await sftp.statvfs(posixpath.dirname(temporary))
                if error.kind == "transient" and left is not None and room.bavail * room.frsize < size:
                    return StorageError(f"{error}; only {room.bavail * room.frsize} bytes are free", kind="space")
        return error


_KINDS = {
    "Permission denied": "permission",
    "Host key verification failed": "permission",
    "not found": "missing",
    "No such file or directory": "missing",
}
"""What OpenSSH's sftp says, in the words of the contract; anything else may pass."""


async def _size(sftp: asyncssh.SFTPClient, path: str) -> int | None:
    with contextlib.suppress(asyncssh.SFTPNoSuchFile):
        found = await sftp.lstat(path)
        return found.size if found.type == asyncssh.FILEXFER_TYPE_REGULAR else None
    return None


async def _write(sftp: asyncssh.SFTPClient, source: Path, path: str) -> Sums:
    """Write a small file and have it flushed to disk where the server can."""
    sums = Sums()
    content = await asyncio.to_thread(source.read_bytes)
    sums.update(content)
    async with sftp.open(path, "wb", block_size=BLOCK) as sink:
        await sink.write(content)
        with contextlib.suppress(asyncssh.SFTPOpUnsupported):
            await sink.fsync()
    return sums


async def _read(sftp: asyncssh.SFTPClient, path: str, target: Path | None = None) -> Sums:
    """Read a file through, and keep what was read if a target is given."""
    sums = Sums()
    with target.open("xb") if target is not None else contextlib.nullcontext() as sink:
        async with sftp.open(path, "rb", block_size=BLOCK) as source:
            while block := cast("bytes", await source.read(READ_AT_ONCE)):
                await asyncio.to_thread(sums.update, block)
                if sink is not None:
                    await asyncio.to_thread(sink.write, block)
    return sums


async def _remove(sftp: asyncssh.SFTPClient, path: str) -> bool:
    try:
        await sftp.remove(path)
    except asyncssh.SFTPNoSuchFile:
        return False
    return True


async def _walk(sftp: asyncssh.SFTPClient, folder: str) -> AsyncIterator[tuple[str, int]]:
    """Yield path and size of every published file below a directory; links are not followed."""
    try:
        entries = [entry async for entry in sftp.scandir(folder)]
    except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPFailure):
        return
    for entry in entries:
        name, path = str(entry.filename), f"{folder}/{entry.filename!s}"
        if entry.attrs.type == asyncssh.FILEXFER_TYPE_DIRECTORY and name not in (".", ".."):
            async for below in _walk(sftp, path):
                yield below
        elif entry.attrs.type == asyncssh.FILEXFER_TYPE_REGULAR and not names.is_temporary(name):
            yield path, entry.attrs.size or 0


def _plain(*paths: str) -> bool:
    """Whether sftp takes these names as they are; some signs would be patterns to it."""
    return not any(set('*?[]\\"\n') & set(path) for path in paths)


def _fault(host: str, said: str) -> StorageError:
    kind = next((kind for text, kind in _KINDS.items() if text in said), "transient")
    return StorageError(f"sftp {host}: {said}", kind=kind)

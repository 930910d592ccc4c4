"""A storage element behind SSH: files below one directory of a host.

What is small goes through the host's one shared connection, many files by one command where the account has a shell. Larger
ones go by OpenSSH's own `sftp` as a child process, which encrypts several times faster than Python can and leaves the agent's
loop alone.
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
from backends.storage_element import child, names, room
from backends.storage_element.base import READ_BACK, Birth, Checksums, Landed, StorageError
from backends.storage_element.batches import Batches, Move
from backends.storage_element.shell import Shell
from backends.storage_element.sums import Sums, compare, forget, size_of, sums_of
from config.site_settings import Host

BLOCK = 131072
"""Bytes of one SFTP request: OpenSSH closes the connection at 262144 (its packet limit, seen with 9.2p1)."""

READ_AT_ONCE = 4 << 20
"""Bytes that are asked for together, in many requests at once."""


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
        self._shell = Shell(self._channel)
        self._one_tree = False
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

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        temporary = self._settings.root + names.temporary(lfn, fence)
        try:
            move = await self._batches.move(source, temporary, birth or (await sums_of(source)).birth)
            method = await self._verify(move)
        except StorageError as error:
            raise await self._cleared(error, temporary, source) from error
        return Landed(temporary=temporary, size=move.size, checksums=move.birth.checksums, method=method)

    async def under_way(self, lfn: str, fence: str) -> int | None:
        temporary = self._settings.root + names.temporary(lfn, fence)
        async with self._session(lfn) as sftp:
            return await _size(sftp, temporary)

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
                        raise fault(self._settings.host, ended.said)
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

    async def free(self) -> int | None:
        async with self._session(self._settings.root) as sftp:
            for place in room.upwards(self._settings.root):
                try:
                    found = await sftp.statvfs(place)
                except (asyncssh.SFTPNoSuchFile, asyncssh.SFTPNoSuchPath):
                    continue
                except (asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
                    break  # an extension of OpenSSH: others do not tell
                return found.bavail * found.frsize
        return None

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
        """Write files under their temporary names: small ones over the shared connection, by one command if they are many, all
        others by OpenSSH's sftp; and have those summed up that are not quickly read back (TX-10)."""
        moves = await self._with_folders(moves)
        small = len(moves) == 1 and moves[0].size < self._settings.child_from_bytes
        if small or await self._by_shell(moves):
            going = moves if small else []
        else:
            going = [move for move in moves if not _plain(str(move.source), move.target)]
            sent = [move for move in moves if move not in going]
            await self._by_child(sent)
            await self._shell.sum_up(sent)
            await self._seen([move for move in sent if move.told])
        for move in going:
            async with self._session(move.target) as sftp:
                await _write(sftp, move.source, move.target)
            move.landed()

    async def _with_folders(self, moves: Sequence[Move]) -> Sequence[Move]:
        """Have the directories, and return the files for which there is one."""
        able = []
        for move in moves:
            folder = posixpath.dirname(move.target)
            try:
                if folder not in self._folders:
                    async with self._session(folder) as sftp:
                        await sftp.makedirs(folder, exist_ok=True)
                    self._folders.add(folder)
                able.append(move)
            except StorageError as error:
                self._failed(move, error)
        return able

    def _failed(self, move: Move, error: StorageError) -> None:
        """Say that a file did not arrive: perhaps since its directory has been removed meanwhile."""
        self._folders.discard(posixpath.dirname(move.target))
        move.failed(error)

    async def _by_shell(self, moves: Sequence[Move]) -> bool:
        """Write many small files by one command; False if the host takes none."""
        large = any(move.size >= self._settings.child_from_bytes for move in moves)
        if not moves or large or not self._shell.takes(moves):
            return False
        complaints = await self._shell.take_in(moves)
        if complaints is None:
            return False
        if not await self._seen([move for move in moves if move not in complaints]):
            with contextlib.suppress(ChannelError):
                await self._channel.remove([move.target for move in moves])
            return False
        for move in moves:
            if move in complaints:
                self._failed(move, fault(self._settings.host, complaints[move]))
            else:
                move.landed()
        return True

    async def _seen(self, moves: Sequence[Move]) -> bool:
        """Whether what the shell knows is there for SFTP, too: an account may be shown different trees by them."""
        if moves and not self._one_tree:
            async with self._session(moves[0].target) as sftp:
                self._one_tree = self._shell.there = await _size(sftp, moves[0].target) is not None
        return self._one_tree or not moves

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
                self._failed(move, fault(self._settings.host, " ".join(complaint) or ended.said))
            else:
                move.landed()

    async def _verify(self, move: Move) -> str:
        """Compare what lies there with what was sent; return by which method (TX-09)."""
        path = move.target
        if self._one_tree and move.told == move.birth.checksums.sha256:
            return "server sha256"  # of so many bytes, too: no other length has this sum
        async with self._session(path) as sftp:
            # without a sum of the server's, and before a wrong one is believed: a shell may see other files than SFTP does
            found = await _read(sftp, path)
        compare(path, move.birth, found.size, found.checksums.sha256)
        return READ_BACK

    async def _cleared(self, error: StorageError, temporary: str, source: Path) -> StorageError:
        """Remove what a failed try left; say of a failure without a name whether the disk is full (SFTP 3 has no word)."""
        with contextlib.suppress(StorageError):
            async with self._session(temporary) as sftp:
                left = await _size(sftp, temporary)
                await _remove(sftp, temporary)
                disk = await sftp.statvfs(posixpath.dirname(temporary))
                size = await asyncio.to_thread(size_of, source)
                if error.kind == "transient" and left is not None and disk.bavail * disk.frsize < size:
                    return StorageError(f"{error}; only {disk.bavail * disk.frsize} bytes are free", kind="space")
        return error


_KINDS = {
    "Permission denied": "permission",
    "Host key verification failed": "permission",
    "not found": "missing",
    "No such file or directory": "missing",
    "No space left on device": "space",
    "Disk quota exceeded": "space",
    "Wrote only": "space",
}
"""What OpenSSH's sftp and tar say, in the words of the contract; anything else may pass. tar writes only a part of a block
where the disk has no more room, and says no more than that."""


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


def fault(host: str, said: str) -> StorageError:
    """Return the error for what a program complained of."""
    kind = next((kind for text, kind in _KINDS.items() if text in said), "transient")
    return StorageError(f"sftp {host}: {said}", kind=kind)

"""A storage element of an XRootD server, by its own programs xrdcp and xrdfs as child processes.

The Python bindings block and have a history of deadlocks (XRootD #329); a child process can be killed, with its group.
XRootD leaves a truncated file under its final name when a writer dies: so nothing is written there but by `mv`, and what
lies there is believed by size and checksum alone.
"""

import asyncio
import contextlib
import os
import posixpath
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from backends.storage_element import child, names, room
from backends.storage_element.base import READ_BACK, Birth, Checksums, Landed, StorageError
from backends.storage_element.batches import Batches, Move
from backends.storage_element.sums import Sums, compare, forget, sums_of
from backends.storage_element.xrdfs import ASK_S, ENVIRONMENT, Xrdfs, fault

SLOWEST = 5_000_000
"""Bytes a second that a server's own checksum is given time for."""

SUMS_AT_ONCE = 2
"""A server counts 4 sums at a time (xrootd.chksum max) and has whoever asks for a fifth wait for 30 s; four who asked one after
the other met that once in 12 runs of 100 files (5.5.3)."""

_JOB = re.compile(r"^Job #(\d+): (.*)$", re.MULTILINE)
_UNSUPPORTED = "[3013]"
"""The server does not do that (kXR_Unsupported): it counts no checksums, or tells no room."""

_LINE = re.compile(r"^([d-])[rwxst-]{9}\s+\S+\s+\S+\s+(\d+)\s+\S+\s+\S+\s+(/.*)$")


class XrootdSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` names server and directory, root://host:port//store/area, to which LFNs are appended. At most `at_once` xrdcp
    run, each with up to 100 files, and as many xrdfs that ask questions."""

    url: Annotated[str, Meta(pattern=r"^x?roots?://[^/\s]+//.*[^/]$|^x?roots?://[^/\s]+$")]
    at_once: Annotated[int, Meta(ge=1)] = 4


class XrootdStorage:
    """Files below one directory of a server, or of a federation behind a redirector."""

    def __init__(self, settings: XrootdSettings) -> None:
        parts = urlsplit(settings.url)
        self._server = f"{parts.scheme}://{parts.netloc}"
        self._root = posixpath.normpath(f"/{parts.path.lstrip('/')}").rstrip("/")
        self._xrdfs = Xrdfs(self._server, settings.at_once)
        self._summing = Xrdfs(self._server, SUMS_AT_ONCE)
        self._turns = asyncio.Semaphore(settings.at_once)
        self._batches = Batches(self._upload, settings.at_once)
        self._parallel = str(settings.at_once)
        self._counts_sums = True
        self._folders: set[str] = set()

    def pfn(self, lfn: str) -> str:
        return self._at(self._path(lfn))

    def local_path(self, lfn: str) -> Path | None:
        self.pfn(lfn)
        return None

    async def close(self) -> None:
        await self._xrdfs.close()
        await self._summing.close()

    async def size(self, lfn: str) -> int | None:
        return await self._size(self._path(lfn))

    async def checksums(self, lfn: str) -> Checksums:
        return (await self._read(self._path(lfn))).checksums

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        temporary = self._root + names.temporary(lfn, fence)
        try:
            move = await self._batches.move(source, temporary, birth or (await sums_of(source)).birth)
            method = await self._verify(move)
        except StorageError:
            with contextlib.suppress(StorageError):
                await self._remove(temporary)
            raise
        return Landed(temporary=self._at(temporary), size=move.size, checksums=move.birth.checksums, method=method)

    async def under_way(self, lfn: str, fence: str) -> int | None:
        return await self._size(self._root + names.temporary(lfn, fence))

    async def publish(self, landed: Landed, lfn: str) -> None:
        path, temporary = self._path(lfn), landed.temporary[len(self._server) + 1 :]
        if not landed.temporary.startswith(f"{self._server}/") or not names.beside(temporary, path):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        if await self._size(path) is not None:  # `mv` of 5.5 writes over whatever stands there
            raise StorageError(f"{lfn} exists", kind="exists")
        await self._ask("mv", temporary, path)

    async def fetch(self, lfn: str, target: Path) -> Checksums:
        try:
            if await asyncio.to_thread(target.exists):
                raise StorageError(f"{target} exists", kind="exists")
            await self._copy(self.pfn(lfn), target=_absolute(target))
            return (await sums_of(target)).checksums
        except BaseException:
            forget(target)
            raise

    async def discard(self, lfn: str, fence: str) -> None:
        await self._remove(self._root + names.temporary(lfn, fence))

    async def delete(self, lfn: str) -> bool:
        return await self._remove(self._path(lfn))

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        folder = self._root + names.folder(prefix)
        try:
            said = await self._ask("ls", "-l", "-R", folder or "/", deadline_s=10 * ASK_S)
        except StorageError as error:
            if error.kind == "missing":
                return []
            raise
        return sorted(self._listed(said))

    async def free(self) -> int | None:
        for place in room.upwards(self._root or "/"):
            try:
                told = room.of_xrootd(await self._ask("query", "space", place))
            except StorageError as error:
                if error.kind == "transient" and _UNSUPPORTED not in str(error):
                    raise
                told = None
            if told is not None:
                return told
        return None

    def _listed(self, said: str) -> Iterator[tuple[str, int]]:
        for line in said.splitlines():
            found = _LINE.match(line)
            if found and found[1] == "-" and not names.is_temporary(posixpath.basename(found[3])):
                path = posixpath.normpath(found[3])
                if path.startswith(f"{self._root}/"):
                    yield path[len(self._root) :], int(found[2])

    def _path(self, lfn: str) -> str:
        return self._root + names.checked(lfn)

    def _at(self, path: str) -> str:
        return f"{self._server}/{path}"

    # one child process each

    async def _ask(self, *words: str, deadline_s: float = ASK_S) -> str:
        return await self._xrdfs.ask(*words, deadline_s=deadline_s)

    async def _xrdcp(self, *words: str) -> child.Ended:
        async with self._turns:
            return await child.run(["xrdcp", "--nopbar", "--silent", "--retry", "0", *words], env=ENVIRONMENT)

    async def _copy(self, source: str, *, target: str) -> None:
        ended = await self._xrdcp(source, target)
        if ended.code:
            raise fault(f"xrdcp {source} {target}", ended.said)

    async def _upload(self, moves: Sequence[Move]) -> None:
        """Copy to new files, by one program for each directory (TX-10)."""
        folders: dict[str, list[Move]] = defaultdict(list)
        for move in moves:
            folders[posixpath.dirname(move.target)].append(move)
        for folder, those in folders.items():
            said = await self._together(folder, those)
            for move in those:
                if move not in said:
                    move.landed()
                else:
                    await self._again(move, fault(f"xrdcp {move.target}", said[move]))

    async def _again(self, move: Move, error: StorageError) -> None:
        """Copy alone what found its name taken, or a directory that is gone. Whatever stands there of an earlier try is removed,
        not written over: a server keeps a checksum for as long as the second of the last change stays the same, and would
        name that of the old content."""
        try:
            if error.kind not in ("exists", "missing"):
                raise error
            await self._remove(move.target)
            await self._copy(_absolute(move.source), target=self._at(move.target))
            move.landed()
        except StorageError as fault:
            move.failed(fault)

    async def _together(self, folder: str, moves: Sequence[Move]) -> dict[Move, str]:
        """Copy files into one directory, through links that have their new names. Return of which xrdcp complains, and how.
        Raise StorageError if none was copied."""
        with tempfile.TemporaryDirectory(prefix="xrdcp-") as links:
            named = [os.path.join(links, posixpath.basename(move.target)) for move in moves]
            for link, move in zip(named, moves, strict=True):
                os.symlink(_absolute(move.source), link)
            if folder not in self._folders:
                await self._folder(folder)
            ended = await self._xrdcp("--parallel", self._parallel, *named, f"{self._at(folder)}/")
        if not ended.code:
            return {}
        self._folders.discard(folder)
        if len(moves) == 1:
            return {moves[0]: ended.said}
        complaints = {moves[int(number) - 1]: why for number, why in _JOB.findall(ended.err.decode(errors="replace"))}
        if not complaints:
            error = fault(f"xrdcp {len(moves)} files to {self._at(folder)}", ended.said)
            raise StorageError(str(error), kind="transient" if error.kind == "missing" else error.kind)
        return complaints

    async def _folder(self, path: str) -> None:
        """Have a directory with all above it; that it is there already is an error to some servers (5.5, mkdir -p)."""
        try:
            await self._ask("mkdir", "-p", path)
        except StorageError as error:
            if error.kind != "exists":
                raise
        self._folders.add(path)

    async def _size(self, path: str) -> int | None:
        try:
            said = await self._ask("stat", path)
        except StorageError as error:
            if error.kind == "missing":
                return None
            raise
        found = re.search(r"^Size:\s+(\d+)$", said, re.MULTILINE)
        if found is None:
            raise StorageError(f"xrdfs {self._server} stat {path}: no size in {said[:200]!r}", kind="transient")
        return None if "IsDir" in said else int(found[1])

    async def _remove(self, path: str) -> bool:
        try:
            await self._ask("rm", path)
        except StorageError as error:
            if error.kind == "missing":
                return False
            raise
        return True

    async def _read(self, path: str) -> Sums:
        async with self._turns:
            sums, ended = await child.summed(
                ["xrdcp", "--nopbar", "--silent", "--retry", "0", self._at(path), "-"], env=ENVIRONMENT
            )
        if ended.code:
            raise fault(f"xrdcp {self._at(path)} -", ended.said)
        return sums

    async def _verify(self, move: Move) -> str:
        """Compare what lies there with what was sent; return by which method (TX-09)."""
        path, birth = move.target, move.birth
        if self._counts_sums:
            size, told = await asyncio.gather(self._size(path), self._server_sum(move))
            if told:
                compare(path, birth, size, told)
                return "server adler32"
        found = await self._read(path)
        compare(path, birth, found.size, found.checksums.sha256)
        return READ_BACK

    async def _server_sum(self, move: Move) -> str:
        """Return the adler32 that the server counts, or "" if it counts none."""
        try:
            deadline_s = max(ASK_S, move.size / SLOWEST)
            said = await self._summing.ask("query", "checksum", move.target, deadline_s=deadline_s)
        except StorageError as error:
            self._counts_sums = _UNSUPPORTED not in str(error)
            return ""
        name, _, value = said.strip().partition(" ")
        return value.strip() if name.lower() == "adler32" else ""


def _absolute(path: Path) -> str:
    """Return the name of a local file as xrdcp takes it for one."""
    return os.path.abspath(path)

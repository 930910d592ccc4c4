"""A storage element behind HTTP with the methods of WebDAV (RFC 4918): PUT, MOVE without overwriting, PROPFIND, MKCOL.

A checksum is asked of the server first (Want-Digest, RFC 3230, which XRootD and dCache answer); one that knows none is read
back.
"""

import asyncio
import base64
import contextlib
import functools
import logging
import posixpath
import shutil
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote, urlsplit
from xml.etree import ElementTree

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

from backends.storage_element import child, names, room
from backends.storage_element.base import READ_BACK, Birth, Checksums, Landed, StorageError
from backends.storage_element.batches import Batches, Move
from backends.storage_element.curl import KINDS, SILENT_S, Curl
from backends.storage_element.sums import Sums, compare, forget, sums_of

CHUNK = 4 << 20
"""Bytes handed to the connection at once."""

AT_HAND = 256 * 1024
"""Bytes that are summed up in less time than a thread takes to begin, and read back for less than a question."""

log = logging.getLogger(__name__)

RUNS = 2
"""So many curl run at once, and share the connections: each is 10 to 20 ms of CPU."""

REPEATABLE = ("HEAD", "GET", "DELETE", "PROPFIND", "MKCOL")
"""Methods that may be sent again without harm."""

REFUSE = ("nginx/",)
"""Servers, as they name themselves, that are known to heed `Overwrite: F`; any other is asked first whether there is a file."""


class WebdavSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url` is what LFNs are appended to. `token_file` holds a bearer token, read anew for each request; `ca_file` the
    certificates that are trusted instead of the system's; `certificate` and `key` are our own, for servers that ask. A
    file of at least `child_from_bytes` goes by curl."""

    url: Annotated[str, Meta(pattern=r"^https?://[^/\s]+")]
    token_file: Annotated[str | None, Meta(extra={"path": True})] = None
    ca_file: Annotated[str | None, Meta(extra={"path": True})] = None
    certificate: Annotated[str | None, Meta(extra={"path": True})] = None
    key: Annotated[str | None, Meta(extra={"path": True})] = None
    at_once: Annotated[int, Meta(ge=1)] = 8
    child_from_bytes: Annotated[int, Meta(ge=0)] = 8_000_000


class WebdavStorage:
    """Files below one address. One pool of at most `at_once` kept-alive connections serves everything."""

    def __init__(self, settings: WebdavSettings) -> None:
        self._settings = settings
        self._url = settings.url.rstrip("/")
        self._base = unquote(urlsplit(self._url).path)
        self._http: aiohttp.ClientSession | None = None
        self._turns = asyncio.Semaphore(settings.at_once)
        self._batches = Batches(self._upload, RUNS)
        self._curl = Curl(self._curl_options, max(1, settings.at_once // RUNS))
        self._has_curl = shutil.which("curl") is not None
        if not self._has_curl:
            log.warning("%s: no curl on this machine: files go slowly, and by the agent itself", self._url)
        self._folders: set[str] = set()
        self._made = 0
        self._tells_sums: bool | None = None
        self._refuses = False

    def pfn(self, lfn: str) -> str:
        return self._url + quote(names.checked(lfn))

    def local_path(self, lfn: str) -> Path | None:
        self.pfn(lfn)
        return None

    async def close(self) -> None:
        if self._http is not None:
            session, self._http = self._http, None
            await session.close()

    async def size(self, lfn: str) -> int | None:
        return await self._size(self.pfn(lfn))

    async def checksums(self, lfn: str) -> Checksums:
        return (await self._read(self.pfn(lfn))).checksums

    async def receive(self, source: Path, lfn: str, fence: str, birth: Birth | None = None) -> Landed:
        temporary = self._url + quote(names.temporary(lfn, fence))
        try:
            move = await self._batches.move(source, temporary, birth or (await sums_of(source)).birth)
            method = await self._verify(move)
        except StorageError:
            with contextlib.suppress(StorageError):
                await self._delete(temporary)
            raise
        return Landed(temporary=temporary, size=move.size, checksums=move.birth.checksums, method=method)

    async def under_way(self, lfn: str, fence: str) -> int | None:
        temporary = self._url + quote(names.temporary(lfn, fence))
        source = self._batches.source(temporary)  # a server may show nothing before it has all
        sent = None if source is None else await asyncio.to_thread(child.position, source)
        return await self._size(temporary) if sent is None else sent

    async def publish(self, landed: Landed, lfn: str) -> None:
        path = self.pfn(lfn)
        if not names.beside(unquote(landed.temporary), unquote(path)):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        if not self._refuses and await self._size(path) is not None:
            raise StorageError(f"{lfn} exists", kind="exists")
        async with self._ask("MOVE", landed.temporary, headers={"Destination": path, "Overwrite": "F"}):
            pass

    async def fetch(self, lfn: str, target: Path) -> Checksums:
        try:
            return (await self._read(self.pfn(lfn), target)).checksums
        except BaseException:
            forget(target)
            raise

    async def discard(self, lfn: str, fence: str) -> None:
        await self._delete(self._url + quote(names.temporary(lfn, fence)))

    async def delete(self, lfn: str) -> bool:
        return await self._delete(self.pfn(lfn))

    async def list(self, prefix: str) -> list[tuple[str, int]]:
        found = [each async for each in self._walk(names.folder(prefix))]
        return sorted(found)

    async def free(self) -> int | None:
        try:
            async with self._ask("PROPFIND", f"{self._url}/", headers={"Depth": "0"}, data=room.QUOTA) as answer:
                return room.of_webdav(await answer.read())
        except StorageError as error:
            if error.kind == "transient":  # it may be there all the same, and know nothing of this question
                await self._size(f"{self._url}/")
        return None

    # one request each

    @contextlib.asynccontextmanager
    async def _ask(self, method: str, url: str, **given: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send a request and yield its successful answer. Raise StorageError for any other."""
        headers = {**given.pop("headers", {}), **self._authorisation()}
        try:
            async with await self._send(method, url, headers=headers, **given) as answer:
                if answer.status >= 300:
                    said = (await answer.text(errors="replace"))[:300].strip()
                    kind = KINDS.get(answer.status, "transient")
                    raise StorageError(f"{method} {url}: {answer.status} {answer.reason} {said}", kind=kind)
                self._refuses = answer.headers.get("Server", "").startswith(REFUSE)
                yield answer
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as fault:
            raise StorageError(f"{method} {url}: {type(fault).__name__} {fault}", kind="transient") from fault

    async def _send(self, method: str, url: str, **given: Any) -> aiohttp.ClientResponse:
        """Send a request, a harmless one again if the server had just let go of the kept connection."""
        ask = functools.partial(self._session().request, method, URL(url, encoded=True), **given)
        try:
            return await ask()
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
            if method not in REPEATABLE:
                raise
            return await ask()

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=20.0, sock_read=SILENT_S)
            connector = aiohttp.TCPConnector(limit=self._settings.at_once, ssl=self._tls())
            self._http = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=CHUNK)
        return self._http

    def _tls(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._settings.ca_file)
        if self._settings.certificate is not None:
            context.load_cert_chain(self._settings.certificate, self._settings.key)
        return context

    def _authorisation(self) -> dict[str, str]:
        if self._settings.token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {Path(self._settings.token_file).read_text().strip()}"}
        except OSError as fault:
            raise StorageError(f"token file {self._settings.token_file}: {fault}", kind="permission") from fault

    async def _size(self, url: str) -> int | None:
        try:
            async with self._ask("HEAD", url) as answer:
                return None if answer.content_length is None else answer.content_length
        except StorageError as error:
            if error.kind == "missing":
                return None
            raise

    async def _delete(self, url: str) -> bool:
        try:
            async with self._ask("DELETE", url):
                return True
        except StorageError as error:
            if error.kind == "missing":
                return False
            raise

    async def _upload(self, moves: Sequence[Move]) -> None:
        """Write files under their temporary names, as long as the server takes any (TX-10)."""
        rest = await self._with_collections(moves)
        while rest:
            made = self._made
            faults = await self._bring(rest)
            await self._again(faults, made)
            if not any(move.arrived for move in rest):
                raise next(iter(faults.values()))
            rest = [move for move in rest if not move.arrived and not move.done.done()]

    async def _with_collections(self, moves: Sequence[Move]) -> Sequence[Move]:
        """Have the directories, and return the files for which there is one: a large file would be sent in vain, as servers
        refuse it only when they have all of it."""
        able = []
        for move in moves:
            try:
                if (folder := self._folder(move)) not in self._folders:
                    await self._make_collections(folder)
                able.append(move)
            except StorageError as error:
                move.failed(error)
        return able

    def _folder(self, move: Move) -> str:
        return posixpath.dirname(unquote(move.target[len(self._url) :]))

    async def _bring(self, moves: Sequence[Move]) -> dict[Move, StorageError]:
        """Send files: a lone small one ourselves, all others by curl, without a share of the agent's loop. Return the faults."""
        if not self._has_curl or (len(moves) == 1 and moves[0].size < self._settings.child_from_bytes):
            tried = [(move, await self._put(move)) for move in moves]
            return {move: fault for move, fault in tried if fault is not None}
        faults = await self._curl.send(moves)
        most = AT_HAND if self._tells_sums is not False else self._settings.child_from_bytes
        await self._curl.read_back([move for move in moves if move.arrived and move.size < most])
        return faults

    async def _again(self, faults: Mapping[Move, StorageError], made: int) -> None:
        """Send once more what was refused since its directory has been removed: 409 by RFC 4918, 500 by nginx. `made`: how often
        directories had been made before; another run may have seen it, too."""
        looked: set[str] = set()
        again = []
        for move, fault in faults.items():
            folder = self._folder(move)
            try:
                if fault.kind not in ("missing", "transient"):
                    raise fault
                if folder not in looked and not await self._is_collection(folder):
                    await self._make_collections(folder)
                looked.add(folder)
                if self._made == made:
                    raise fault
                again.append(move)
            except StorageError as error:
                move.failed(error)
        for move, fault in (await self._bring(again) if again else {}).items():
            move.failed(fault)

    async def _put(self, move: Move) -> StorageError | None:
        source = await asyncio.to_thread(move.source.open, "rb")
        try:
            async with self._ask("PUT", move.target, data=source):
                move.landed()
        except StorageError as fault:
            return fault
        finally:
            source.close()
        return None

    def _curl_options(self) -> dict[str, str]:
        settings = self._settings
        told = {"cacert": settings.ca_file or "", "cert": settings.certificate or "", "key": settings.key or ""}
        return told | {"header": ": ".join(*self._authorisation().items()) if settings.token_file else ""}

    async def _read(self, url: str, target: Path | None = None) -> Sums:
        sums = Sums()
        with target.open("xb") if target is not None else contextlib.nullcontext() as sink:
            async with self._ask("GET", url) as answer:
                async for block in answer.content.iter_chunked(CHUNK):
                    if len(block) < AT_HAND:
                        sums.update(block)
                    else:
                        await asyncio.to_thread(sums.update, block)
                    if sink is not None:
                        await asyncio.to_thread(sink.write, block)
                expected = answer.content_length
        if expected is not None and expected != sums.size:
            raise StorageError(f"GET {url}: {sums.size} bytes came of {expected}", kind="transient")
        return sums

    async def _verify(self, move: Move) -> str:
        """Compare what lies there with what was sent; return by which method (TX-09). A small file is read back in any case:
        to ask for the server's sum costs as much."""
        url, birth = move.target, move.birth
        if move.told == birth.checksums.sha256:
            return READ_BACK
        if birth.size >= AT_HAND and self._tells_sums is not False:
            async with self._ask("HEAD", url, headers={"Want-Digest": "sha-256,adler32"}) as answer:
                size, told = answer.content_length, _digests(answer.headers.get("Digest", ""))
            self._tells_sums = bool(told)
            for kind in sorted(told, reverse=True):  # sha256 before adler32
                compare(url, birth, size, told[kind])
                return f"server {kind}"
        if self._has_curl and birth.size >= self._settings.child_from_bytes:
            async with self._turns:
                back = await self._curl.read(url)
            compare(url, birth, back.size, back.digest)
        else:
            found = await self._read(url)
            compare(url, birth, found.size, found.checksums.sha256)
        return READ_BACK

    async def _make_collections(self, folder: str) -> None:
        """Make a directory and those above it; RFC 4918 makes one at a time and answers 405 for one that is there."""
        made = ""
        for part in folder.strip("/").split("/"):
            made = f"{made}/{part}"
            try:
                async with self._ask("MKCOL", f"{self._url}{quote(made)}/"):
                    pass
            except StorageError:
                if not await self._is_collection(made):
                    raise
        self._folders.add(folder)
        self._made += 1

    async def _is_collection(self, folder: str) -> bool:
        return any(collection for _, _, collection in await self._listed(folder, depth="0"))

    async def _walk(self, folder: str) -> AsyncIterator[tuple[str, int]]:
        """Yield LFN and size of every published file below a collection, one request for each collection."""
        for lfn, size, collection in await self._listed(folder, depth="1"):
            if collection and lfn != folder:
                async for below in self._walk(lfn):
                    yield below
            elif not collection and not names.is_temporary(posixpath.basename(lfn)):
                yield lfn, size

    async def _listed(self, folder: str, depth: str) -> Sequence[tuple[str, int, bool]]:
        """Return LFN, size, and whether it is a collection, of what PROPFIND names; nothing if there is no such folder."""
        try:
            async with self._ask("PROPFIND", f"{self._url}{quote(folder)}/", headers={"Depth": depth}) as answer:
                page = await answer.read()
        except StorageError as error:
            if error.kind == "missing":
                return []
            raise
        try:
            return list(_responses(page, self._base))
        except (ElementTree.ParseError, ValueError) as fault:
            raise StorageError(f"PROPFIND {self._url}{folder}: unreadable answer: {fault}", kind="transient") from fault


def _responses(page: bytes, base: str) -> Iterator[tuple[str, int, bool]]:
    if b"<!DOCTYPE" in page or b"<!ENTITY" in page:
        raise ValueError("it declares entities, which no WebDAV server needs")
    for response in ElementTree.fromstring(page).iter("{DAV:}response"):  # noqa: S314 -- entities are refused above
        path = unquote(urlsplit(response.findtext("{DAV:}href", "")).path).rstrip("/")
        if path.startswith(f"{base}/") or path == base:
            size = response.findtext(".//{DAV:}getcontentlength") or "0"
            yield path[len(base) :], int(size), response.find(".//{DAV:}resourcetype/{DAV:}collection") is not None


def _digests(header: str) -> dict[str, str]:
    """Return what a Digest header names, as hexadecimal digits by algorithm (RFC 3230; adler32 as in its registry)."""
    told = {}
    for item in header.split(","):
        name, _, value = item.strip().partition("=")
        if name.lower() in ("adler32", "adler-32"):
            told["adler32"] = value
        elif name.lower() in ("sha-256", "sha256"):
            with contextlib.suppress(ValueError):
                told["sha256"] = base64.b64decode(value, validate=True).hex()
    return told

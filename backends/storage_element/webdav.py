"""A storage element behind HTTP with the methods of WebDAV (RFC 4918): PUT, MOVE without overwriting, PROPFIND, MKCOL.

A checksum is asked of the server first (Want-Digest, RFC 3230, which XRootD and dCache answer); one that knows none is read
back.
"""

import asyncio
import base64
import contextlib
import functools
import io
import posixpath
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

from backends.storage_element import child, names
from backends.storage_element.base import READ_BACK, Checksums, Landed, StorageError
from backends.storage_element.sums import Sums, compare, forget, size_of, while_moved

CHUNK = 4 << 20
"""Bytes handed to the connection at once."""

AT_HAND = 256 * 1024
"""Bytes that are summed up in less time than a thread takes to begin, and read back for less than a question."""

SILENT_S = 120.0
"""A server that says and takes nothing for so long, in seconds, has gone away."""

CURL = ("curl", "-q", "-K", "-")

REPEATABLE = ("HEAD", "GET", "DELETE", "PROPFIND", "MKCOL")
"""Methods that may be sent again without harm."""

KINDS = {401: "permission", 403: "permission", 404: "missing", 405: "permission", 409: "missing", 412: "exists"}
KINDS |= {413: "space", 507: "space"}
"""HTTP status in the words of the contract; any other that is no success is "transient"."""


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
        self._folders: set[str] = set()

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

    async def receive(self, source: Path, lfn: str, fence: str) -> Landed:
        temporary = self._url + quote(names.temporary(lfn, fence))
        size = await asyncio.to_thread(size_of, source)
        try:
            if size >= self._settings.child_from_bytes and posixpath.dirname(lfn) not in self._folders:
                # a large file would be sent in vain: servers refuse it only when they have all of it
                await self._make_collections(posixpath.dirname(lfn))
            try:
                sent = await self._put(source, temporary, size)
            except StorageError as error:
                self._folders.discard(posixpath.dirname(lfn))
                if error.kind not in ("missing", "transient"):
                    raise
                # a missing directory is 409 by RFC 4918 and 500 by nginx; others may be making it at the same moment
                await self._make_collections(posixpath.dirname(lfn))
                sent = await self._put(source, temporary, size)
            method = await self._verify(temporary, sent)
        except StorageError:
            with contextlib.suppress(StorageError):
                await self._delete(temporary)
            raise
        return Landed(temporary=temporary, size=sent.size, checksums=sent.checksums, method=method)

    async def publish(self, landed: Landed, lfn: str) -> None:
        path = self.pfn(lfn)
        if not names.beside(unquote(landed.temporary), unquote(path)):
            raise StorageError(f"{landed.temporary} is no temporary file of {lfn}", kind="permission")
        if await self._size(path) is not None:  # not every server heeds the header
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

    async def _put(self, source: Path, url: str, size: int) -> Sums:
        if size >= self._settings.child_from_bytes:
            sums, _ = await while_moved(source, self._send_by_child(source, url))
            return sums
        content = await asyncio.to_thread(source.read_bytes)
        sums = Sums()
        sums.update(content)
        async with self._ask("PUT", url, data=io.BytesIO(content)):
            return sums

    async def _send_by_child(self, source: Path, url: str) -> None:
        """Send a file by curl, three times as fast as Python, without a share of the agent's loop."""
        script = self._script(url, {"upload-file": str(source), "output": "/dev/null"})
        async with self._turns:
            ended = await child.run(CURL, stdin=script)
        _judged(f"PUT {url}", ended)

    async def _read_by_child(self, url: str) -> Sums:
        """Sum up a file that curl reads; it is looked at only if the server says that this is the file."""
        async with self._turns:
            sums, ended = await child.summed(CURL, stdin=self._script(url, {"fail": "true"}))
        _judged(f"GET {url}", ended)
        return sums

    def _script(self, url: str, more: Mapping[str, str]) -> bytes:
        """Return what curl is told by standard input: a token would be seen among the arguments of a process."""
        settings = self._settings
        told = {"url": url, "write-out": "%{stderr}%{http_code}", **more}
        told |= {"speed-limit": "1", "speed-time": str(round(SILENT_S)), "connect-timeout": "20"}
        told |= {"cacert": settings.ca_file or "", "cert": settings.certificate or "", "key": settings.key or ""}
        told |= {"header": ": ".join(*self._authorisation().items()) if settings.token_file else ""}
        script = "silent\nshow-error\nlocation-trusted\n"
        return (script + "".join(f'{key} = "{_escaped(value)}"\n' for key, value in told.items() if value)).encode()

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

    async def _verify(self, url: str, sent: Sums) -> str:
        """Compare what lies there with what was sent; return by which method (TX-09). A small file is read back in any case:
        to ask for the server's sum costs as much."""
        if sent.size < AT_HAND:
            found = await self._read(url)
            compare(url, sent, found.size, found.checksums)
            return READ_BACK
        async with self._ask("HEAD", url, headers={"Want-Digest": "sha-256,adler32"}) as answer:
            size, told = answer.content_length, _digests(answer.headers.get("Digest", ""))
        for kind in ("sha256", "adler32"):
            if kind in told:
                compare(url, sent, size, told[kind])
                return f"server {kind}"
        large = sent.size >= self._settings.child_from_bytes
        found = await (self._read_by_child(url) if large else self._read(url))
        compare(url, sent, found.size, found.checksums)
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


def _judged(what: str, ended: child.Ended) -> None:
    """Raise StorageError unless curl did it; the status is the last it said, behind its complaints."""
    said = ended.err.decode(errors="replace").strip()
    complaint, status = said[:-3].strip(), int(said[-3:]) if said[-3:].isdigit() else 0
    if ended.code or not 200 <= status < 300:
        raise StorageError(f"{what}: {status or ''} {complaint}", kind=KINDS.get(status, "transient"))


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


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

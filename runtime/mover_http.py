"""Moves files by HTTP: PUT, GET, HEAD, DELETE, and WebDAV's MKCOL and MOVE (RFC 4918)."""

import os
import ssl
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any, Dict, Iterator, Optional, Tuple
from urllib.parse import quote, urlsplit

from runtime.checksum import BLOCK, Digest
from runtime.mover import Mover

SILENCE_S = 120.0
"""Seconds without a byte after which a server is given up."""
MOST_HOPS = 5
"""Redirections that are followed: a storage element sends its clients on to the host with the disk."""


class HttpFault(OSError):
    """A server said no, or nothing that can be understood."""


class Http(Mover):
    """`token_file` holds a bearer token, `ca_file` the certificates to trust, `certificate` and `key` are our own.

    A server's certificate is always checked.
    """

    def pfn(self, lfn: str) -> str:
        return str(self.rule["url"]).rstrip("/") + lfn

    def put(self, source: str, target: str) -> Digest:
        digest = Digest()
        status = self._send(source, target, digest)
        if status in (403, 404, 409, 500):  # WebDAV says 409 when the collection is missing, nginx 500
            self._make_parents(target)
            digest = Digest()
            status = self._send(source, target, digest)
        if status not in (200, 201, 204):
            raise HttpFault("PUT {}: status {}".format(target, status))
        return digest

    def read_back(self, target: str) -> Digest:
        digest = Digest()
        for block in self._blocks(target):
            digest.update(block)
        return digest

    def fetch(self, source: str, target: str) -> None:
        with open(target, "wb") as sink:
            for block in self._blocks(source):
                sink.write(block)

    def exists(self, target: str) -> bool:
        status = self._ask("HEAD", target)
        if status not in (200, 204, 404, 410):
            raise HttpFault("HEAD {}: status {}".format(target, status))
        return status < 300

    def publish(self, temporary: str, target: str) -> None:
        status = self._ask("MOVE", temporary, {"Destination": self._address(target), "Overwrite": "F"})
        if status in (409, 412) and self.exists(target):
            raise FileExistsError(target)
        if status not in (201, 204):
            raise HttpFault("MOVE to {}: status {}".format(target, status))

    def remove(self, target: str) -> None:
        status = self._ask("DELETE", target)
        if status not in (200, 202, 204, 404, 410):
            raise HttpFault("DELETE {}: status {}".format(target, status))

    def _make_parents(self, target: str) -> None:
        base = str(self.rule["url"]).rstrip("/")
        names = target[len(base) :].strip("/").split("/")[:-1]
        for depth in range(len(names)):
            self._ask("MKCOL", base + "/" + "/".join(names[: depth + 1]) + "/")

    def _send(self, source: str, target: str, digest: Digest) -> int:
        with open(source, "rb", buffering=0) as reader:
            size = os.fstat(reader.fileno()).st_size
            headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
            with self._answer("PUT", target, headers, _Counted(reader, digest, size)) as answer:
                return int(answer.status)

    def _ask(self, verb: str, target: str, headers: Optional[Dict[str, str]] = None) -> int:
        with self._answer(verb, target, headers or {}) as answer:
            return int(answer.status)

    def _blocks(self, target: str) -> Iterator[bytes]:
        with self._answer("GET", target, {}) as answer:
            if answer.status != 200:
                raise HttpFault("GET {}: status {}".format(target, answer.status))
            block = answer.read(BLOCK)
            while block:
                yield block
                block = answer.read(BLOCK)
            if answer.length:
                raise HttpFault("GET {}: {} bytes are missing".format(target, answer.length))

    @contextmanager
    def _answer(
        self, verb: str, target: str, headers: Dict[str, str], body: Optional["_Counted"] = None
    ) -> Iterator[HTTPResponse]:
        address = self._address(target)
        for _ in range(MOST_HOPS):
            connection, path = self._connection(address)
            try:
                connection.request(verb, path, body=body, headers=self._with_token(headers, address, target))
                answer = connection.getresponse()
                if answer.status not in (301, 302, 303, 307, 308) or not answer.headers.get("Location"):
                    yield answer
                    return
                address = answer.headers["Location"]
                if body is not None:
                    body.rewind()
            except (HTTPException, ssl.SSLError) as fault:
                raise HttpFault("{} {}: {!r}".format(verb, target, fault)) from fault
            finally:
                connection.close()
        raise HttpFault("{} {}: sent on more than {} times".format(verb, target, MOST_HOPS))

    def _address(self, target: str) -> str:
        """Return a physical name as it goes over the wire: what is not part of `url` may hold any letter."""
        base = str(self.rule.get("url") or "").rstrip("/")
        if not base or not target.startswith(base):
            base = "/".join(target.split("/", 3)[:3])
        return base + quote(target[len(base) :])

    def _connection(self, address: str) -> Tuple[Any, str]:
        parts = urlsplit(address)
        path = parts.path + ("?" + parts.query if parts.query else "")
        silence = min(SILENCE_S, self.deadline)
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=self.rule.get("ca_file"))
            if self.rule.get("certificate"):
                context.load_cert_chain(self.rule["certificate"], self.rule.get("key"))
            return HTTPSConnection(parts.hostname or "", parts.port, timeout=silence, context=context), path
        return HTTPConnection(parts.hostname or "", parts.port, timeout=silence), path

    def _with_token(self, headers: Dict[str, str], address: str, target: str) -> Dict[str, str]:
        """Add the token, but not for another host than the one that it was given for."""
        if not self.rule.get("token_file") or urlsplit(address).netloc != urlsplit(target).netloc:
            return headers
        with open(self.rule["token_file"]) as source:
            return dict(headers, Authorization="Bearer " + source.read().strip())


class _Counted(object):
    """A file that is summed up while it is sent."""

    def __init__(self, reader: Any, digest: Digest, size: int) -> None:
        self._reader = reader
        self._digest = digest
        self._left = size

    def read(self, _: int = -1) -> bytes:
        block = self._reader.read(min(BLOCK, self._left)) if self._left else b""
        self._left -= len(block)
        self._digest.update(block)
        return bytes(block)

    def rewind(self) -> None:
        self._left += self._reader.tell()
        self._reader.seek(0)
        self._digest.__init__()  # type: ignore[misc]

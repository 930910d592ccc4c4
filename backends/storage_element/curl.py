"""Moves files to and from a web server by curl: many in one run, and told by standard input what to do.

Among the arguments of a process a token would be seen. A file is sent, and read back by the same run.
"""

import functools
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from backends.storage_element import child
from backends.storage_element.base import StorageError
from backends.storage_element.batches import Move
from backends.storage_element.sums import BLOCK, Sha256

COMMAND = ("curl", "-q", "-K", "-")

SILENT_S = 120.0
"""A server that says and takes nothing for so long, in seconds, has gone away."""

KINDS = {401: "permission", 403: "permission", 404: "missing", 405: "permission", 409: "missing", 412: "exists"}
KINDS |= {413: "space", 507: "space"}
"""HTTP status in the words of the contract; any other that is no success is "transient"."""

_ALWAYS = {
    "write-out": "%{stderr}@%{http_code} %{size_download}\\n",
    "speed-limit": "1",
    "speed-time": str(round(SILENT_S)),
    "connect-timeout": "20",
}
_SWITCHES = "silent\nshow-error\nfail-early\nlocation-trusted\n"
_ANSWER = re.compile(r"(.*?)^@(\d{3}) (\d+)\n", re.MULTILINE | re.DOTALL)


class Curl:
    """Runs of curl for one server. `options` are asked for before each: certificates, and a header that admits us."""

    def __init__(self, options: Callable[[], Mapping[str, str]]) -> None:
        self._options = options

    async def send(self, moves: Sequence[Move], back: Sequence[Move]) -> dict[Move, StorageError]:
        """Send files one after the other, then read some of them `back`. Return the faults; whatever was not tried after a
        lost connection has neither a fault nor arrived."""
        script = self._section(f"upload-file = {_quoted(move.source)}\n{_url(move.target)}" for move in moves)
        if back:
            script += "next\nfail\n" + self._section((_url(move.target) for move in back), keep=True)
        found, ended = await child.piped(COMMAND, functools.partial(_split, back), stdin=script.encode())
        answers = [(said, int(status), int(size)) for said, status, size in _ANSWER.findall(_text(ended))]
        if not answers:
            raise StorageError(f"curl, {len(moves)} files: exit code {ended.code}: {ended.said}", kind="transient")
        faults = {}
        for move, (said, status, _) in zip(moves, answers, strict=False):
            if 200 <= status < 300 and "curl: (" not in said:
                move.landed()
            else:
                faults[move] = _fault(f"PUT {move.target}", status, said)
        for move, sums, (_, _, size) in zip(back, found, answers[len(moves) :], strict=False):
            if size != move.size:
                break  # from here on nobody knows whose bytes they are: the others are verified one by one
            move.found = sums
        return faults

    async def read(self, url: str) -> Sha256:
        """Sum up a file; raise StorageError."""
        script = "fail\n" + self._section([_url(url)], keep=True)
        sums, ended = await child.piped(COMMAND, _sum_up, stdin=script.encode())
        answer = _ANSWER.search(_text(ended))
        if ended.code or answer is None:
            raise _fault(f"GET {url}", int(answer[2]) if answer else 0, answer[1] if answer else ended.said)
        return sums

    def _section(self, files: Iterable[str], *, keep: bool = False) -> str:
        """Return what is to be done with files in one way; `keep`: their content goes to standard output."""
        told = {**_ALWAYS, **self._options()}
        options = "".join(f"{key} = {_quoted(value)}\n" for key, value in told.items() if value)
        sink = "" if keep else "output = /dev/null\n"
        return _SWITCHES + options + "".join(file + sink for file in files)


def _url(url: str) -> str:
    return f"url = {_quoted(url)}\n"


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _text(ended: child.Ended) -> str:
    return ended.err.decode(errors="replace")


def _fault(what: str, status: int, said: str) -> StorageError:
    return StorageError(f"{what}: {status or ''} {said.strip()}", kind=KINDS.get(status, "transient"))


def _sum_up(reader: int) -> Sha256:
    sums = Sha256()
    _read(reader, sums, None)
    return sums


def _split(moves: Sequence[Move], reader: int) -> list[Sha256]:
    """Sum up contents that follow one another, each as long as it should be; read what is more than that, too."""
    found = [Sha256() for _ in moves]
    for move, sums in zip(moves, found, strict=True):
        _read(reader, sums, move.size)
    _read(reader, Sha256(), None)
    return found


def _read(reader: int, sums: Sha256, size: int | None) -> None:
    while size is None or sums.size < size:
        block = os.read(reader, BLOCK if size is None else min(BLOCK, size - sums.size))
        if not block:
            return
        sums.update(block)

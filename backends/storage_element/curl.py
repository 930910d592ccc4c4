"""Moves files to and from a web server by curl: many in one run, and told by standard input what to do.

Among the arguments of a process a token would be seen.
"""

import asyncio
import functools
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from backends.storage_element import child
from backends.storage_element.base import StorageError
from backends.storage_element.batches import Move
from backends.storage_element.sums import Sha256, summed

COMMAND = ("curl", "-q", "-K", "-")

SILENT_S = 120.0
"""A server that says and takes nothing for so long, in seconds, has gone away."""

KINDS = {401: "permission", 403: "permission", 404: "missing", 405: "permission", 409: "missing", 412: "exists"}
KINDS |= {413: "space", 507: "space"}
"""HTTP status in the words of the contract; any other that is no success is "transient"."""

_ALWAYS = {
    "write-out": "%{stderr}\\n@%{urlnum} %{http_code} %{exitcode} %{errormsg}\\n",
    "speed-limit": "1",
    "speed-time": str(round(SILENT_S)),
    "connect-timeout": "20",
}
_SWITCHES = "silent\nshow-error\nno-progress-meter\nfail-early\nlocation-trusted\n"
_ANSWER = re.compile(r"^@(\d+) (\d{3}) (\d+) (.*)$", re.MULTILINE)
_BY_ANOTHER = (26, 42)
"""Exit codes of a file that was not tried, or not to its end: the fault of another one has ended the run."""

PORTION = 64_000_000
"""Bytes that are read back into files at once."""


class _Answer(NamedTuple):
    status: int
    code: int
    said: str

    @property
    def good(self) -> bool:
        return self.code == 0 and 200 <= self.status < 300


class Curl:
    """Runs of curl for one server, each with at most `parallel` connections. `options` are asked for before each run:
    certificates, and a header that admits us."""

    def __init__(self, options: Callable[[], Mapping[str, str]], parallel: int) -> None:
        self._options = options
        self._parallel = f"parallel\nparallel-max = {parallel}\n"

    async def send(self, moves: Sequence[Move]) -> dict[Move, StorageError]:
        """Send files. Return the faults; whatever was not tried after a lost connection has neither a fault nor arrived. Raise
        StorageError if none was tried."""
        script = self._script(
            f"upload-file = {_quoted(move.source)}\n{_url(move.target)}output = /dev/null\n" for move in moves
        )
        ended = await child.run(COMMAND, stdin=script.encode())
        answers = _answers(ended)
        faults = {}
        for number, move in enumerate(moves):
            answer = answers.get(number)
            if answer is not None and answer.good:
                move.landed()
            elif answer is not None and answer.code not in _BY_ANOTHER:
                faults[move] = _fault(f"PUT {move.target}", answer)
        if not faults and not any(move.arrived for move in moves):
            raise StorageError(f"curl, {len(moves)} files: exit code {ended.code}: {ended.said}", kind="transient")
        return faults

    async def read_back(self, moves: Sequence[Move]) -> None:
        """Read files from the server again, and note the sha256 of each that came."""
        for those in _portions(moves):
            with tempfile.TemporaryDirectory(prefix="curl-", ignore_cleanup_errors=True) as directory:
                back = [Path(directory, str(number)) for number in range(len(those))]
                script = "fail\n" + self._script(
                    f"output = {_quoted(path)}\n{_url(move.target)}" for path, move in zip(back, those, strict=True)
                )
                answers = _answers(await child.run(COMMAND, stdin=script.encode()))
                came = [n for n in range(len(those)) if n in answers and answers[n].good]
                sums = await asyncio.to_thread(lambda: [_sum_of(back[n]) for n in came])  # noqa: B023 -- awaited here
            for n, digest in zip(came, sums, strict=True):
                those[n].told = digest

    async def read(self, url: str) -> Sha256:
        """Sum up a file; raise StorageError."""
        script = "fail\n" + self._script([_url(url)])
        sums, ended = await child.piped(COMMAND, functools.partial(summed, Sha256()), stdin=script.encode())
        answer = _answers(ended).get(0, _Answer(0, ended.code, ended.said))
        if not answer.good:
            raise _fault(f"GET {url}", answer)
        return sums

    def _script(self, files: Iterable[str]) -> str:
        told = {**_ALWAYS, **self._options()}
        options = "".join(f"{key} = {_quoted(value)}\n" for key, value in told.items() if value)
        return _SWITCHES + self._parallel + options + "".join(files)


def _url(url: str) -> str:
    return f"url = {_quoted(url)}\n"


def _quoted(value: object) -> str:
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _answers(ended: child.Ended) -> dict[int, _Answer]:
    """Return what curl says of each file, by its number in the script."""
    found = _ANSWER.findall(ended.err.decode(errors="replace"))
    return {int(number): _Answer(int(status), int(code), said) for number, status, code, said in found}


def _fault(what: str, answer: _Answer) -> StorageError:
    said = answer.said or f"exit code {answer.code} of curl"
    text = f"{what}: {answer.status or ''} {said if answer.code else ''}".rstrip()
    return StorageError(text, kind=KINDS.get(answer.status, "transient"))


def _portions(moves: Iterable[Move]) -> Iterator[list[Move]]:
    portion: list[Move] = []
    for move in moves:
        if portion and sum(each.size for each in portion) + move.size > PORTION:
            yield portion
            portion = []
        portion.append(move)
    if portion:
        yield portion


def _sum_of(path: Path) -> str:
    return summed(Sha256(), path).digest if path.exists() else ""

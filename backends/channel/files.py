"""Small files at the other end of a channel, by the tools that every Linux host has: sh, tar, head, tail, find, rm.

One call is one command, whatever the number of files: a login node feels each process that is started on it. Paths and
contents travel as arguments and standard input, never inside the text of a script.
"""

import io
import secrets
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from backends.channel.base import COMMAND_S, FILE_CAP, OUTPUT_CAP, Answer, Entry, FileFault, Flooded, SmallFile

_C = {"LC_ALL": "C"}

_PUT = """
umask 077
case $1 in */*/*) mkdir -p -- "${1%/*}" || exit 3;; esac
cat >"$2" && chmod "$3" -- "$2" && mv -fT -- "$2" "$1" && exit 0
rm -f -- "$2"
exit 3
"""

_KINDS = {
    "No such file or directory": "missing",
    "Permission denied": "permission",
    "Operation not permitted": "permission",
    "Read-only file system": "permission",
    "Not a directory": "permission",
    "Is a directory": "permission",
    "No space left on device": "space",
    "Disk quota exceeded": "space",
    "File too large": "space",
}
"""What the tools say, with LC_ALL=C, in the words of the contract (texts of glibc's strerror)."""


class SmallFiles(ABC):
    """The file operations of a channel, on top of its `run`."""

    @abstractmethod
    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float = COMMAND_S,
        env: Mapping[str, str] | None = None,
    ) -> Answer: ...

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        target = _checked(path)
        draft = f"{target}.{secrets.token_hex(6)}.part"
        await self._do(["sh", "-c", _PUT, "sh", target, draft, f"{mode:o}"], path, stdin=content)

    async def put_many(self, files: Sequence[SmallFile]) -> None:
        if not files:
            return
        # --touch: the host's own clock, not ours, dates the files; --no-same-owner: root, too, keeps what it writes
        command = ["tar", "-xPf", "-", "--touch", "--no-same-owner", "--same-permissions", "--unlink-first"]
        await self._do(command, f"{len(files)} files below {files[0].path}", stdin=_packed(files))

    async def get(self, path: str, limit: int = FILE_CAP) -> bytes:
        if limit >= OUTPUT_CAP:
            raise ValueError(f"limit is {limit} bytes, fewer than {OUTPUT_CAP} fit through a channel")
        answer = await self._do(["head", "-c", str(limit + 1), "--", _checked(path)], path)
        if len(answer.out) > limit:
            raise Flooded(f"{path} has more than {limit} bytes")
        return answer.out

    async def get_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        if not paths:
            return {}
        command = ["tar", "-cPf", "-", "--null", "--no-recursion", "--quoting-style=literal", "-T", "-"]
        listed = b"\0".join(_checked(path).encode() for path in paths)
        answer = await self.run(command, stdin=listed, env=_C)
        if answer.code not in (0, 1, 2):
            raise _fault(f"{len(paths)} files from {paths[0]}", answer)
        return _unpacked(answer)

    async def tail(self, path: str, limit: int) -> bytes:
        if limit > OUTPUT_CAP:
            raise ValueError(f"limit is {limit} bytes, at most {OUTPUT_CAP} fit through a channel")
        return (await self._do(["tail", "-c", str(limit), "--", _checked(path)], path)).out

    async def list(self, directory: str) -> list[Entry]:
        command = ["find", f"{_checked(directory)}/", "-mindepth", "1", "-maxdepth", "1", "-printf"]
        answer = await self._do([*command, "%s %T@ %y %f\\0"], directory)
        return sorted((_entry(line) for line in answer.out.split(b"\0") if line), key=lambda entry: entry.name)

    async def remove(self, paths: Sequence[str]) -> None:
        if not paths:
            return
        for path in paths:
            if len(_checked(path).split("/")) < 3:
                raise ValueError(f"{path} is not removed: expected at least two names, as in /a/b")
        listed = b"\0".join(path.encode() for path in paths)
        await self._do(["xargs", "-0", "rm", "-rf", "--"], f"{len(paths)} paths from {paths[0]}", stdin=listed)

    async def _do(self, argv: Sequence[str], what: str, *, stdin: bytes = b"") -> Answer:
        answer = await self.run(argv, stdin=stdin, env=_C)
        if answer.code:
            raise _fault(what, answer)
        return answer


def _checked(path: str) -> str:
    parts = path.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts[1:]):
        raise ValueError(f"{path!r} is no path for a channel: expected /name/name without . and ..")
    return path


def _fault(what: str, answer: Answer) -> FileFault:
    said = answer.said() or f"exit code {answer.code}"
    kind = next((kind for text, kind in _KINDS.items() if text in said), "other")
    return FileFault(f"{what}: {said}", kind=kind)


def _packed(files: Sequence[SmallFile]) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for file in files:
            member = tarfile.TarInfo(_checked(file.path))
            member.size, member.mode = len(file.content), file.mode
            archive.addfile(member, io.BytesIO(file.content))
    return sink.getvalue()


def _unpacked(answer: Answer) -> dict[str, bytes]:
    """Return the regular files of an archive, without those that tar complains of on standard error."""
    complaints = answer.err.decode(errors="replace").splitlines()
    found = {}
    with tarfile.open(fileobj=io.BytesIO(answer.out), mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None and not any(line.startswith(f"tar: {member.name}: ") for line in complaints):
                found[member.name] = content.read()
    return found


def _entry(line: bytes) -> Entry:
    size, changed_at, kind, name = line.decode(errors="surrogateescape").split(" ", 3)
    return Entry(name=name, size=int(size), changed_at=float(changed_at), is_directory=kind == "d")

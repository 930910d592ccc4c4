"""Moves files by programs of the node: xrdcp and xrdfs, OpenSSH's sftp, or whatever a site names."""

import os
import tempfile
from contextlib import suppress
from typing import Any, Dict, List, Tuple

from runtime.checksum import Digest, digest_of
from runtime.mover import Mover
from runtime.tool import ToolError, call, expect, which


class ByTool(Mover):
    """What is common to them: what is read back comes here and is summed up here."""

    def read_back(self, target: str) -> Digest:
        handle, path = tempfile.mkstemp(prefix=".back-", dir=os.getcwd())
        os.close(handle)
        try:
            self.fetch(target, path)
            return digest_of(path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)


class Xrootd(ByTool):
    """XRootD's own client: https://xrootd.slac.stanford.edu/doc/man/xrdcp.1.html."""

    def pfn(self, lfn: str) -> str:
        return str(self.rule["url"]).rstrip("/") + lfn

    def put(self, source: str, target: str) -> Digest:
        digest = self.digest(source)
        expect([which("xrdcp"), "--nopbar", "--force", "--path", source, target], self.deadline)
        return digest

    def fetch(self, source: str, target: str) -> None:
        expect([which("xrdcp"), "--nopbar", "--force", source, target], self.deadline)

    def exists(self, target: str) -> bool:
        said = self._xrdfs(target, "stat")
        if said.code and "3011" not in said.err:  # kXR_NotFound
            raise ToolError("xrdfs stat {}: {}".format(target, said.err))
        return not said.code

    def publish(self, temporary: str, target: str) -> None:
        if self.exists(target):
            raise FileExistsError(target)
        server, path = _parted(target)
        said = self._xrdfs(temporary, "mv", path)
        if said.code and "3018" in said.err:  # kXR_ItExists
            raise FileExistsError(target)
        if said.code:
            raise ToolError("xrdfs {} mv to {}: {}".format(server, path, said.err))

    def remove(self, target: str) -> None:
        said = self._xrdfs(target, "rm")
        if said.code and "3011" not in said.err:
            raise ToolError("xrdfs rm {}: {}".format(target, said.err))

    def _xrdfs(self, target: str, verb: str, *more: str) -> Any:
        server, path = _parted(target)
        return call([which("xrdfs"), server, verb, path] + list(more), self.deadline)


class Sftp(ByTool):
    """OpenSSH's sftp in batch mode: https://man.openbsd.org/sftp. The host key must be known; nobody is asked anything.

    `options` are further words for it, as ["-i", "/path/of/a/key"]. A file is published by a hard link, which refuses
    an existing name; that takes the extension hardlink@openssh.com of OpenSSH's server.
    """

    def put(self, source: str, target: str) -> Digest:
        digest = self.digest(source)
        folders = []
        folder = os.path.dirname(target)
        while len(folder) > 1 and len(folder) >= len(str(self.rule["root"]).rstrip("/")):
            folders.append("-mkdir {}".format(_quoted(folder)))
            folder = os.path.dirname(folder)
        self._batch(folders[::-1] + ["put {} {}".format(_quoted(source), _quoted(target))])
        return digest

    def fetch(self, source: str, target: str) -> None:
        self._batch(["get {} {}".format(_quoted(source), _quoted(target))])

    def exists(self, target: str) -> bool:
        said = self._call(["ls -1 {}".format(_quoted(target))])
        if said.code and "not found" not in said.err.lower() and "no such file" not in said.err.lower():
            raise ToolError("sftp ls {}: {}".format(target, said.err))
        return not said.code

    def publish(self, temporary: str, target: str) -> None:
        said = self._call(["ln {} {}".format(_quoted(temporary), _quoted(target))])
        if said.code and self.exists(target):
            raise FileExistsError(target)
        if said.code:
            raise ToolError("sftp ln {}: {}".format(target, said.err))

    def remove(self, target: str) -> None:
        self._batch(["-rm {}".format(_quoted(target))])

    def _batch(self, lines: List[str]) -> None:
        said = self._call(lines)
        if said.code:
            raise ToolError("sftp to {}: {}".format(self.rule["host"], said.err))

    def _call(self, lines: List[str]) -> Any:
        rule = self.rule
        command = [which("sftp"), "-q", "-b", "-", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
        command += [str(word) for word in rule.get("options") or []]
        if rule.get("port"):
            command += ["-P", str(rule["port"])]
        command.append("{}@{}".format(rule["user"], rule["host"]) if rule.get("user") else rule["host"])
        return call(command, self.deadline, "\n".join(lines + [""]).encode())


class Command(ByTool):
    """A site's own commands. Without `get` nothing can be read back: what `put` says is believed, as its exit code.

    Without `rename` a file is written under its final name at once, which carries the attempt's token.
    """

    def put(self, source: str, target: str) -> Digest:
        digest = self.digest(source)
        self._do("put", source, target)
        return digest

    def __init__(self, rule: Dict[str, Any]) -> None:
        super().__init__(rule)
        self.renames = bool(rule.get("rename"))
        self.reads = bool(rule.get("get"))

    def fetch(self, source: str, target: str) -> None:
        self._do("get", source, target)

    def exists(self, target: str) -> bool:
        return bool(self.rule.get("exists")) and not call(self._filled("exists", "", target), self.deadline).code

    def publish(self, temporary: str, target: str) -> None:
        if self.exists(target):
            raise FileExistsError(target)
        self._do("rename", temporary, target)

    def remove(self, target: str) -> None:
        if self.rule.get("remove"):
            self._do("remove", "", target)

    def _do(self, verb: str, source: str, target: str) -> None:
        expect(self._filled(verb, source, target), self.deadline)

    def _filled(self, verb: str, source: str, target: str) -> List[str]:
        if not self.rule.get(verb):
            raise ToolError("the rule says no command to {}".format(verb))
        return [str(word).replace("{source}", source).replace("{target}", target) for word in self.rule[verb]]


KINDS = {"xrootd": Xrootd, "sftp": Sftp, "command": Command}  # type: Dict[str, Any]


def _parted(url: str) -> Tuple[str, str]:
    """Return the server and the path of root://host:port//path."""
    scheme, _, rest = url.partition("://")
    server, _, path = rest.partition("/")
    return "{}://{}".format(scheme, server), "/" + path.lstrip("/")


def _quoted(path: str) -> str:
    """Return a path as one word of sftp, without a meaning of its stars and braces."""
    return '"' + "".join("\\" + letter if letter in '"\\*?[]' else letter for letter in path) + '"'

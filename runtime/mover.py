"""The ways to a storage element: what each has to do, and which there are.

kind      keys                                                       how it is published, never over another file
posix     root, sync                                                 link from the temporary name
xrootd    url (root://host:port//base)                               xrdfs mv, which refuses an existing name
sftp      host, root, user, port, options                            ln by OpenSSH's sftp, then rm of the temporary name
http      url (http(s)://host:port/base), token_file, ca_file,       MOVE with Overwrite: F (WebDAV, RFC 4918)
          certificate, key
command   put, and optionally get, exists, rename, remove: lists of words with {source} and {target}; root
"""

from typing import Any, Callable, Dict, List, Tuple

from runtime.checksum import Digest, digest_of

DEADLINE_S = 3600.0
"""Seconds that one transfer may take if the rule does not say `deadline_s`."""


class Mover(object):
    """One way to one place. Every method raises OSError for what another try or another way may mend."""

    renames = True
    """Whether a file can be written under a temporary name first."""
    reads = True
    """Whether what was written can be read back."""

    def __init__(self, rule: Dict[str, Any]) -> None:
        self.rule = rule
        self.deadline = float(rule.get("deadline_s") or DEADLINE_S)

    def pfn(self, lfn: str) -> str:
        """Return the physical name of a file."""
        return str(self.rule.get("root", "")).rstrip("/") + lfn

    def put(self, source: str, target: str) -> Digest:
        """Write a file under a temporary name, over what may be there, and return what was read of the source."""
        raise NotImplementedError

    def read_back(self, target: str) -> Digest:
        """Return what the storage element has under a name."""
        raise NotImplementedError

    def identity(self, target: str) -> str:  # noqa: ARG002
        """Return what tells a file from another one of the same name, "" where nothing does."""
        return ""

    def exists(self, target: str) -> bool:
        """Return whether there is a file of that name."""
        raise NotImplementedError

    def publish(self, temporary: str, target: str) -> None:
        """Give a file its final name; raise FileExistsError, and leave both alone, if there is one."""
        raise NotImplementedError

    def remove(self, target: str) -> None:
        """Remove a file; none of that name is as good."""
        raise NotImplementedError

    def fetch(self, source: str, target: str) -> None:
        """Copy a file of the storage element to this node."""
        raise NotImplementedError

    def digest(self, source: str) -> Digest:
        """Sum up a file of this node."""
        return digest_of(source)


def open_mover(rule: Dict[str, Any]) -> Mover:
    """Return the mover of a rule that `faults` finds nothing wrong with."""
    kind = rule["kind"]
    if kind == "posix":
        from runtime.mover_posix import Posix  # noqa: PLC0415 -- only what a job needs is loaded

        return Posix(rule)
    if kind == "http":
        from runtime.mover_http import Http  # noqa: PLC0415

        return Http(rule)
    from runtime import mover_tools  # noqa: PLC0415

    made: Mover = mover_tools.KINDS[kind](rule)
    return made


def faults(where: str, rules: Any) -> List[str]:
    """Return what is wrong with some rules, as sentences."""
    found = []
    for place, rule in enumerate(rules if isinstance(rules, list) else []):
        at = "{}[{}]".format(where, place)
        kind = rule.get("kind") if isinstance(rule, dict) else None
        if kind not in _NEEDED:
            found.append("{} is {!r}, expected kind {}".format(at, rule, ", ".join(sorted(_NEEDED))))
            continue
        for key, right, expected in _NEEDED[kind]:
            if not right(rule.get(key)):
                found.append("{}.{} is {!r}, expected {}".format(at, key, rule.get(key), expected))
    return found


def _directory(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("/")


def _words(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


_ROOT = ("root", _directory, "the absolute name of a directory")
_NEEDED: Dict[str, List[Tuple[str, Callable[[Any], bool], str]]] = {
    "posix": [_ROOT],
    "xrootd": [("url", lambda url: str(url).startswith(("root://", "roots://", "xroot://")), "root://host:port//base")],
    "sftp": [("host", lambda host: isinstance(host, str) and host[:1] not in ("", "-"), "a host"), _ROOT],
    "http": [("url", lambda url: str(url).startswith(("http://", "https://")), "http(s)://host:port/base")],
    "command": [("put", _words, "a list of words")],
}

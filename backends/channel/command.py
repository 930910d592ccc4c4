"""Words a command for the login shell of a host, and finds in what comes back where the program itself began to speak.

An SSH server takes one string and gives it to the account's shell. So every word is quoted in a way that bash, zsh, ksh,
dash, csh and fish read alike. Start-up files of shells like to talk: a mark on both outputs, written directly before the
program starts, says where its own words begin; an ended command without a mark never started. The mark on standard error
carries the process number, by which a command can be killed on a host that does not pass signals on.
"""

import math
import re
import shlex
from collections.abc import Mapping, Sequence

BOUND_S = 5
"""So many seconds after our own deadline the host itself kills a command that we could not kill."""

LONGEST = 120_000
"""Bytes of one command; Linux allows 131,072 for one argument of the shell (MAX_ARG_STRLEN, execve(2))."""

_START = 'printf "%s\\n" "$0"; printf "%s %s\\n" "$0" $$ >&2; exec "$@"'
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def line(argv: Sequence[str], mark: str, deadline_s: float, env: Mapping[str, str]) -> str:
    """Return the string for the host's shell. Raise ValueError for what no program can be given.

    `timeout` (coreutils) leads a process group of its own and ends it when we cannot.
    """
    if not argv or not all(argv[:1]) or any("\0" in word for word in argv):
        raise ValueError(f"{list(argv)!r} is no command: expected a program and arguments without NUL")
    for name, value in env.items():
        if not _NAME.fullmatch(name) or "\0" in value:
            raise ValueError(f"{name}={value!r} is no environment variable")
    bound = ["timeout", "-k", str(BOUND_S), str(math.ceil(deadline_s) + BOUND_S)]
    variables = ["env", *(f"{name}={value}" for name, value in env.items())] if env else []
    text = quoted(["sh", "-c", _START, mark, *bound, *variables, *argv])
    if len(text.encode()) > LONGEST:
        raise ValueError(f"{argv[0]}: a command of {len(text.encode())} bytes, at most {LONGEST}; use standard input")
    return text


def quoted(words: Sequence[str]) -> str:
    """Return one string that every login shell splits into these words again, running the first in its own place."""
    text = shlex.join(words)
    if not re.search(r"[\n\r!\\]", text):
        return f"exec {text}"
    # in quotes csh sees "!" and ends of lines, and fish some backslashes: give them octal numbers, which all read alike
    octal = "".join(f"\\0{byte:03o}" for byte in text.encode())
    return f"""exec sh -c 'eval "exec $(printf %b "$0")"' '{octal}'"""


def own_words(said: bytes, mark: str) -> tuple[bytes, str] | None:
    """Return what stands after the marked line, and what the line carries; None if there is no mark."""
    _, found, rest = said.partition(mark.encode())
    if not found:
        return None
    carried, _, rest = rest.partition(b"\n")
    return rest, carried.decode(errors="replace").strip()

"""The contract of a channel to a host."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

OUTPUT_CAP = 16 * 1024 * 1024
"""Bytes of standard output, and of standard error, that a command may say (PA-305)."""

FILE_CAP = 8 * 1024 * 1024
"""Bytes of a small file if nothing else is said: a job's report has at most as many (PA-318)."""

COMMAND_S = 60.0
"""How long a command may take if nothing else is said, in seconds (PA-305)."""


class Answer(msgspec.Struct, frozen=True):
    """What a command left. `code` is its exit code, or minus the signal that ended it (as in subprocess)."""

    code: int
    out: bytes = b""
    err: bytes = b""

    def said(self, most: int = 2000) -> str:
        """Return the last `most` characters of what it complained of, for a message to people."""
        return (self.err.strip() or self.out.strip()).decode(errors="replace")[-most:]


class SmallFile(msgspec.Struct, frozen=True):
    """A file to write: absolute `path`, `content`, permission bits `mode`."""

    path: str
    content: bytes
    mode: int = 0o600


class Entry(msgspec.Struct, frozen=True):
    """One name in a directory: size in bytes, time of last change in UTC epoch seconds of that host."""

    name: str
    size: int
    changed_at: float
    is_directory: bool


class ChannelError(Exception):
    """A command or a file did not get through.

    `transient`: the same call may succeed later. `may_have_run`: the doubt; False means that the command certainly did
    not start, True that nobody knows: whoever asked for something that must not happen twice has to look first.
    """

    transient = False
    may_have_run = False


class Unreachable(ChannelError):
    """There was no connection to the host, or no turn on it, in time. The command did not start."""

    transient = True


class Cut(ChannelError):
    """The connection went away, or the deadline came, while the command ran."""

    transient = True
    may_have_run = True


class Flooded(ChannelError):
    """The command said more than the cap allows and was ended."""

    may_have_run = True


class OverBudget(ChannelError):
    """The host has had its calls for this hour. The command did not start; `retry_after_s` seconds from now it may."""

    transient = True

    def __init__(self, text: str, *, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class NotAdmitted(ChannelError):
    """The host does not let us in, or its name is unknown to us: a person must set something right."""


class HostKeyChanged(NotAdmitted):
    """The host shows another key than the known one. It is blocked until a person has looked (PA-305)."""


class FileFault(ChannelError):
    """A file operation was refused by the host: `kind` is "missing", "permission", "space" or "other"."""

    def __init__(self, text: str, *, kind: str) -> None:
        super().__init__(text)
        self.kind = kind
        self.transient = kind == "other"


class ChannelState(msgspec.Struct, frozen=True, kw_only=True):
    """What a channel shows of itself to operators; times in UTC epoch seconds, durations in seconds.

    `state` is "closed", "connecting", "open", "waiting" (for the next try at `next_try_at`), "refused" (it does not let us
    in) or "blocked" (it shows another key, HostKeyChanged); `reason` says why it is not open.
    `slots` is how many commands may run at once now: fewer than configured when answers are slow.
    """

    host: str
    kind: str
    state: str
    reason: str = ""
    since: float = 0.0
    next_try_at: float | None = None
    connections: int = 0
    calls: int = 0
    calls_last_hour: int = 0
    calls_per_hour_limit: int | None = None
    failures: int = 0
    running: int = 0
    waiting: int = 0
    slots: int = 0
    answer_s: float = 0.0
    bytes_sent: int = 0
    bytes_received: int = 0


class Channel(Protocol):
    """The way to one host. Everything that names the host shares one; any task may call it at any time.

    Every method but `state` raises ChannelError, and says with it whether to try again and whether a command may have run.
    """

    @property
    def host(self) -> str:
        """The name of the host in the configuration."""

    async def open(self) -> None:
        """Make ready; safe to repeat, never needed: the first call does it."""

    async def close(self) -> None:
        """End what runs and let go of the connection; safe to repeat. The next call opens it anew."""

    async def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes = b"",
        deadline_s: float = COMMAND_S,
        env: Mapping[str, str] | None = None,
    ) -> Answer:
        """Run a program in the home directory and return what it said, whatever its exit code.

        `argv` reaches the program word for word: nothing in it is seen by a shell. A program that does not exist is an
        Answer with code 127, one that may not be run 126. `env` is added to its environment; of the agent's own nothing
        is passed on that could be a secret. `deadline_s` seconds hold for waiting and running together: then, and on
        cancellation, the program and its process group are killed where the host lets us. More than OUTPUT_CAP bytes
        are `Flooded`.
        """

    async def put(self, path: str, content: bytes, mode: int = 0o600) -> None:
        """Write a file whole or not at all, over an earlier one; directories are made. Raise FileFault."""

    async def put_many(self, files: Sequence[SmallFile]) -> None:
        """Write many files in one call; directories are made. Raise FileFault.

        Not atomic: somebody else can see a part of them, and after a failure some may be there. Repeating is safe.
        """

    async def get(self, path: str, limit: int = FILE_CAP) -> bytes:
        """Return a file of at most `limit` bytes; raise FileFault, kind "missing" if there is none."""

    async def get_many(self, paths: Sequence[str]) -> dict[str, bytes]:
        """Return in one call those of these files that exist, by path.

        One that cannot be read, or that changes while it is read, is left out like a missing one. More than OUTPUT_CAP
        bytes together are `Flooded`.
        """

    async def tail(self, path: str, limit: int) -> bytes:
        """Return the last `limit` bytes of a file, fewer if it is shorter; raise FileFault."""

    async def list(self, directory: str) -> list[Entry]:
        """Return what is in a directory, by name; raise FileFault, kind "missing" if there is none."""

    async def remove(self, paths: Sequence[str]) -> None:
        """Remove files and directories with all that is in them; missing ones are skipped. Raise FileFault.

        A path needs at least two names ("/a/b"), so that a slip cannot empty a file system.
        """

    def state(self) -> ChannelState:
        """Return what there is to see; never waits."""

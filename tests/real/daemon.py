"""A server as a child of the tests: started until it answers, killed with all that it started."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

UP_S = 30.0
"""A server gets so long to answer, in seconds: the machine may be busy."""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str, package: str) -> str:
    """Return where a program is; servers lie where ordinary users do not look."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    assert found, f"no {name} on this machine: sh .ci/system installs {package}"
    return found


def unprivileged() -> str:
    """Return the account that servers which refuse root run under: our own, or nobody."""
    return "nobody" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name


class Daemon:
    """One server process on `port`, in its own process group, with a directory that its account may use."""

    def __init__(self, name: str, *, user: str | None = None) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix=f"{name}-", dir="/tmp"))
        self.log = self.directory / "log"
        self._user = user if user is not None and os.getuid() == 0 else None
        self.directory.chmod(0o755)
        self._process: subprocess.Popen[bytes] | None = None

    def own(self, path: Path) -> Path:
        """Make a directory that belongs to the server's account."""
        path.mkdir(parents=True, exist_ok=True)
        if self._user:
            shutil.chown(path, self._user)
        return path

    def run(self, command: Sequence[str]) -> None:
        """Start and wait until it listens."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, user=self._user, cwd=self.directory
            )
        until = time.monotonic() + UP_S
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._process.poll() is None, f"{command[0]} ended: {self.log.read_text()}"
            time.sleep(0.01)
        raise AssertionError(f"{command[0]} does not listen on {self.port}: {self.log.read_text()}")

    def kill(self) -> None:
        """Kill it and what it started, at once."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop all its processes: it listens, and never answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """Kill it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

"""A throw-away OpenSSH server: its own keys, its own port on loopback, gone when the test is.

It runs as whoever runs the tests: root (who may log in by key) or an ordinary user (who alone may log in).
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from config.site_settings import Host
from runtime.process import everyone
from tests.real.daemon import UP_S, free_port, program

USER = pwd.getpwuid(os.getuid()).pw_name


class Sshd:
    """One server. `with Sshd(directory) as server:` runs it."""

    def __init__(self, directory: Path, *, options: str = "") -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.log = directory / "sshd.log"
        self.known_hosts = directory / "known_hosts"
        self.identity = directory / "user_key"
        self._options = options
        self._server: subprocess.Popen[bytes] | None = None
        self.new_host_key()
        _keygen(self.identity)
        shutil.copy(f"{self.identity}.pub", directory / "authorized_keys")
        self.trust()

    def __enter__(self) -> "Sshd":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def host(self, **changed: object) -> Host:
        """Return the settings that reach this server and nothing of the user's own."""
        known = {
            "address": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "identity_files": [str(self.identity)],
            "known_hosts": str(self.known_hosts),
            "ssh_config": "/dev/null",
        }
        return Host(**{**known, **changed})  # type: ignore[arg-type]

    def new_host_key(self) -> None:
        """Make the server another one: its next start shows another key."""
        for path in (self.directory / "host_key", self.directory / "host_key.pub"):
            path.unlink(missing_ok=True)
        _keygen(self.directory / "host_key")

    def trust(self) -> None:
        """Write the present host key to known_hosts."""
        key = (self.directory / "host_key.pub").read_text().rsplit(" ", 1)[0]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {key}\n")

    def start(self) -> None:
        """Start and wait until it listens."""
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        configuration = self.directory / "sshd_config"
        configuration.write_text(self._configuration())
        command = [program("sshd", "openssh-server"), "-D", "-f", str(configuration), "-E", str(self.log)]
        self._server = subprocess.Popen(command, start_new_session=True)
        until = time.monotonic() + UP_S
        while time.monotonic() < until:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._server.poll() is None, f"sshd ended: {self.log.read_text()}"
            time.sleep(0.01)
        raise AssertionError(f"sshd does not listen on {self.port}: {self.log.read_text()}")

    def kill(self) -> None:
        """End the listener and every connection at once, as kill -9 does."""
        if self._server is None:
            return
        victims = [self._server.pid, *self.connections()]
        for pid in victims:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._server.wait()
        self._server = None

    def connections(self) -> list[int]:
        """Return the processes that serve connections, the commands under them not among them."""
        assert self._server is not None
        return [pid for pid in _below(self._server.pid) if _name(pid) == "sshd"]

    def freeze(self) -> None:
        """Stop every connection's process: the network is there and nobody answers."""
        for pid in self.connections():
            os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in self.connections():
            os.kill(pid, signal.SIGCONT)

    def accepted(self) -> int:
        """Return how many connections were let in, by the server's own log."""
        return self.log.read_text().count("Accepted publickey")

    def _configuration(self) -> str:
        """SHLVL makes bash leave out ~/.bashrc, which may cost half a second and is none of ours."""
        return f"""
Port {self.port}
ListenAddress 127.0.0.1
HostKey {self.directory}/host_key
PidFile none
AuthorizedKeysFile {self.directory}/authorized_keys
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
SetEnv SHLVL=1
Subsystem sftp internal-sftp
LogLevel INFO
{self._options}
"""


def _keygen(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", str(path)], check=True)


def _below(parent: int) -> Iterator[int]:
    for found in everyone():
        if _parent(found.pid) == parent:
            yield found.pid
            yield from _below(found.pid)


def _parent(pid: int) -> int:
    with suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _name(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""

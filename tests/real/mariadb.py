"""A throw-away MariaDB: own data directory, socket and port, killed and started again at will."""

import contextlib
import itertools
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pymysql

START_S = 60.0
PASSWORD = "secret"


class MariaServer:
    """Works as root and as an ordinary user. Nothing is synced to disk: a killed process loses nothing, a test saves time."""

    def __init__(self, place: Path, *options: str) -> None:
        self.place = place
        self.port = _free_port()
        self.process: subprocess.Popen[bytes] | None = None
        self._options = options
        self._serial = itertools.count(1)
        self._shapes: dict[str, dict[str, str]] = {}

    @staticmethod
    def installed() -> bool:
        return shutil.which("mariadbd") is not None and shutil.which("mariadb-install-db") is not None

    @property
    def socket(self) -> Path:
        """Short: a socket's path may have 107 characters."""
        return Path(f"/tmp/prodagent-maria-{self.port}.sock")

    def install(self) -> "MariaServer":
        """Make the data directory."""
        command = ["mariadb-install-db", "--no-defaults", f"--datadir={self.place / 'data'}", "--skip-test-db"]
        command += ["--auth-root-authentication-method=normal", *_as_root(), "--innodb-log-file-size=16M"]
        command += [f"--tmpdir={self.place}"]  # a server that starts removes the temporary tables of others
        self.place.mkdir(parents=True, exist_ok=True)
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db: {made.stdout[-2000:]}{made.stderr[-2000:]}")
        return self

    def start(self, *options: str) -> None:
        """Start it and return when it answers."""
        self.launch(*options)
        self.answers()

    def launch(self, *options: str) -> None:
        """Start it. In the main thread: it dies with the thread that started it, so that a killed test leaves none."""
        command = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "mariadbd",
            "--no-defaults",
            f"--datadir={self.place / 'data'}",
            *_as_root(),
        ]
        command += [f"--socket={self.socket}", f"--port={self.port}", f"--pid-file={self.place / 'pid'}"]
        command += [f"--tmpdir={self.place}"]
        command += ["--bind-address=127.0.0.1", "--skip-name-resolve", "--max-connections=200", "--loose-skip-log-bin"]
        command += ["--innodb-flush-log-at-trx-commit=1", "--innodb-flush-method=nosync", "--innodb-log-file-size=16M"]
        command += ["--innodb-buffer-pool-size=64M", "--innodb-file-per-table=OFF", f"--log-error={self.place / 'log'}"]
        self.process = subprocess.Popen(
            [*command, *self._options, *options], start_new_session=True, stderr=subprocess.DEVNULL
        )

    def answers(self) -> None:
        """Return when it answers."""
        assert self.process
        end = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as door:
                door.connect(str(self.socket))
                break
            if self.process.poll() is not None or time.monotonic() > end:
                log = (self.place / "log").read_text(errors="replace")
                raise RuntimeError(f"mariadbd does not start: {log[-3000:]}")
            time.sleep(0.02)
        self.connect().close()

    def kill(self) -> None:
        """kill -9; returns when it is dead."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Safe to repeat."""
        self._end(signal.SIGTERM)
        self.socket.unlink(missing_ok=True)

    def freeze(self, *, frozen: bool) -> None:
        """SIGSTOP or SIGCONT."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait()
            self.process = None

    def connect(self, database: str | None = None) -> "pymysql.Connection[pymysql.cursors.Cursor]":
        """A connection of the administrator, autocommitting."""
        return pymysql.connect(unix_socket=str(self.socket), user="root", database=database, autocommit=True)

    def run(self, *statements: str) -> None:
        """Run statements as the administrator."""
        with contextlib.closing(self.connect()) as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def make(self) -> str:
        """Make an empty database and a user of its own; return the address of the store."""
        name = f"t{next(self._serial)}"
        self.run(
            f"CREATE DATABASE {name} CHARACTER SET utf8mb4",
            f"CREATE USER {name}@'%' IDENTIFIED BY '{PASSWORD}'",
            f"GRANT ALL ON {name}.* TO {name}@'%'",
        )
        return self.address(name)

    def copy(self, template: str) -> str:
        """Make a database with the tables of another one, empty but for its version; return the address of the store."""
        url = self.make()
        old, new = (address.rpartition("/")[2] for address in (template, url))
        if old not in self._shapes:
            self._shapes[old] = self._shape(old)
        with contextlib.closing(self.connect(new)) as connection, connection.cursor() as cursor:
            cursor.execute("SET foreign_key_checks = 0")
            for name, statement in self._shapes[old].items():
                cursor.execute(statement)
                if name.startswith("version_"):
                    cursor.execute(f"INSERT INTO {name} SELECT * FROM {old}.{name}")
        return url

    def _shape(self, database: str) -> dict[str, str]:
        with contextlib.closing(self.connect(database)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW TABLES")
            names = [str(name) for (name,) in cursor.fetchall()]
            found = {}
            for name in names:
                cursor.execute(f"SHOW CREATE TABLE `{name}`")
                row = cursor.fetchone()
                assert row
                found[name] = re.sub(r" AUTO_INCREMENT=\d+", "", str(row[1]))
            return found

    def address(self, name: str) -> str:
        return f"mysql://{name}:{PASSWORD}@127.0.0.1:{self.port}/{name}"

    def reference(self, url: str) -> str:
        """The address as a configuration must give it: with the password in the environment, as STORE_PASSWORD."""
        return url.replace(f":{PASSWORD}@", ":${STORE_PASSWORD}@")

    def drop(self, url: str) -> None:
        """Remove what `make` made."""
        name = url.rpartition("/")[2]
        self.run(f"DROP DATABASE IF EXISTS {name}", f"DROP USER IF EXISTS {name}@'%'")


def _as_root() -> list[str]:
    return ["--user=root"] if os.geteuid() == 0 else []


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])

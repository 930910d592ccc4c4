"""Snapshots of a store that is at work: consistent, checked, rotated. Each is one SQLite file, whatever the store is."""

import fcntl
import os
import re
import shutil
import sqlite3
import time
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa

from domain.rotation import kept
from storage import copying, laws, log
from storage.engines.address import is_file, parse
from storage.engines.opening import open_reader
from storage.engines.sqlite import connect
from storage.errors import StoreAway, StoreCorrupt, StoreError
from storage.migrate import is_current, upgrade
from storage.schema import AGENT

PAGES = 4096
"""Pages copied in one go, 16 MB; in between the disk belongs to the writer."""
PAUSE_S = 0.005
SAMPLE = ("whole", "one-live", "counters")
"""Laws that a snapshot is checked for; all of them are proved on the store itself every hour."""

_NAME = re.compile(r"^store-(\d{8}T\d{6}Z)\.db$")
_TIME = "%Y%m%dT%H%M%SZ"


class Snapshot(NamedTuple):
    """A finished snapshot; `at` is when it was begun (UTC epoch seconds)."""

    path: Path
    at: float
    size: int


class Backups(NamedTuple):
    """Where the snapshots of a store are made, and the sandboxes kept."""

    url: str
    directory: Path
    sandboxes: Path

    def take(self, now: float) -> Snapshot:
        """Make one of both; blocks, for a thread of its own. Raises as the function `take`, OSError."""
        made = take(self.url, self.directory, now)
        keep_sandboxes(self.sandboxes, self.directory / "sandboxes")
        return made


def snapshots(directory: Path) -> list[Snapshot]:
    """Return the finished snapshots of a directory, newest first."""
    found = []
    for path in directory.glob("store-*.db"):
        if match := _NAME.match(path.name):
            at = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC).timestamp()
            found.append(Snapshot(path, at, path.stat().st_size))
    return sorted(found, key=lambda snapshot: snapshot.at, reverse=True)


def newest_at(directory: Path) -> float | None:
    """Return of when the newest snapshot is (UTC epoch seconds), None if there is none."""
    found = snapshots(directory)
    return found[0].at if found else None


def take(url: str, directory: Path, now: float) -> Snapshot:
    """Make a snapshot and check it; blocks, for a thread of its own. The store may be at work and is not stopped.

    One at a time in a directory: a second one waits for the first. Raises StoreAway, StoreError (no room, no rights) or
    StoreCorrupt (the snapshot is not sound); then none is left.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        turn = os.open(directory, os.O_RDONLY)
        try:
            fcntl.flock(turn, fcntl.LOCK_EX)
            return _take(url, directory, now)
        finally:
            os.close(turn)
    except OSError as error:
        raise StoreAway(f"no snapshot in {directory}: {error}") from error


def _take(url: str, directory: Path, now: float) -> Snapshot:
    name = f"store-{datetime.fromtimestamp(now, UTC).strftime(_TIME)}.db"
    temporary = directory / f".{name}.part"
    try:
        for old in directory.glob(".store-*.part*"):
            old.unlink()
        address = parse(url)
        if is_file(address):
            _copy_pages(Path(str(address.database)), temporary)
        else:
            _copy_rows(url, temporary)
        check(temporary, now)
        size = on_disk(temporary)
        temporary.replace(directory / name)
        on_disk(directory)
    except (OSError, sqlite3.OperationalError, sa.exc.OperationalError) as error:
        raise StoreAway(f"no snapshot in {directory}: {error}") from error
    finally:
        for part in directory.glob(f"{temporary.name}*"):
            with suppress(OSError):
                part.unlink()
    return Snapshot(directory / name, float(int(now)), size)


def _copy_pages(source: Path, target: Path) -> None:
    """Copy the pages as one transaction sees them: https://sqlite.org/backup.html; the writer goes on in its log."""
    if not source.is_file():
        raise StoreError(f"no store at {source}")
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    with closing(reader), closing(sqlite3.connect(target)) as writer:
        reader.execute("PRAGMA busy_timeout=5000")
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM sqlite_master").fetchone()
        reader.backup(writer, pages=PAGES, progress=lambda *_: time.sleep(PAUSE_S))
        writer.execute("PRAGMA journal_mode=DELETE").fetchone()


def _copy_rows(url: str, target: Path) -> None:
    """Copy the rows as one transaction sees them into an SQLite file, and compare."""
    engine = connect(target, writer=True, pragmas=("synchronous=OFF", "journal_mode=MEMORY"))
    reader = open_reader(url, threads=1)
    try:
        with engine.connect() as made:
            upgrade(made, AGENT)
            made.commit()
            reader.read_now(lambda source: _copy_tables(source, made))
            made.commit()
    finally:
        reader.close_now()
        engine.dispose()


def _copy_tables(source: sa.Connection, target: sa.Connection) -> None:
    target.rollback()
    for table in AGENT.metadata.sorted_tables:
        target.execute(table.delete())
        read = copying.Sum()
        for rows in copying.pages(source, table):
            copying.insert(target, table, rows)
            read = read.plus(rows)
        written = copying.Sum()
        for rows in copying.pages(target, table):
            written = written.plus(rows)
        if read != written:
            raise StoreCorrupt(
                f"the snapshot differs: table {table.name} has {read.rows} rows, {written.rows} were copied"
            )


def check(path: Path, now: float) -> int:
    """Read a snapshot through and return the id of its last fact.

    Raises StoreCorrupt for damage or a broken law, StoreTooNew or StoreForeign for what this program cannot use.
    """
    if not path.is_file():
        raise StoreError(f"there is no snapshot {path}")
    engine = connect(path, writer=False)
    try:
        with engine.connect() as connection:
            current = is_current(connection, AGENT)
            found = laws.damaged(connection)
            if not found and current:
                found = laws.check(connection, now=now, only=SAMPLE)
            if found:
                raise StoreCorrupt(f"snapshot {path} is not sound: {found[0].subject}: {found[0].text}")
            return log.last(connection) if current else 0
    except sa.exc.DatabaseError as error:
        raise StoreCorrupt(f"snapshot {path} cannot be read: {error.orig}") from error
    finally:
        engine.dispose()


def rotate(directory: Path, keep_last: int, keep_days: int) -> list[Path]:
    """Delete what is neither one of the newest nor the last of one of the last days; return what went."""
    have = snapshots(directory)
    keep = kept([snapshot.at for snapshot in have], keep_last, keep_days)
    gone = [snapshot.path for snapshot in have if snapshot.at not in keep]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def keep_sandboxes(source: Path, target: Path) -> int:
    """Copy the sandboxes that are not there yet, each whole or not at all; return how many. They never change."""
    target.mkdir(parents=True, exist_ok=True)
    new = [path for path in source.glob("*.tar.gz") if not (target / path.name).exists()]
    for path in new:
        temporary = target / f".{path.name}.{os.getpid()}"
        shutil.copyfile(path, temporary)
        on_disk(temporary)
        temporary.replace(target / path.name)
    return len(new)


def on_disk(path: Path) -> int:
    """Wait until a file or directory is on disk; return its size in bytes."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)

"""Put a snapshot in the place of a lost store, and remember until it is settled that the world has gone on since."""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from domain import events as e
from domain.file import FILE_TABLE, FileState
from domain.job import UNFINISHED
from domain.types import looked_at
from storage import backup, copying, log, schema
from storage.accounting import dissolve_merges, produce_again
from storage.copying import Progress
from storage.engine import among
from storage.engines.address import is_file, parse
from storage.engines.sqlite import connect
from storage.errors import StoreError
from storage.jobs import kill
from storage.lease import FileLock
from storage.moves import move
from storage.transaction import Tx, Unit
from supervisors import Clock

file, job, merge_input, restoration = schema.file, schema.job, schema.merge_input, schema.restoration

GAP = 1_000_000
"""Ids of facts that are passed over: the lost store may have given as many since the snapshot, and others have heard of them."""


class Restoration(NamedTuple):
    """A restore: when (UTC epoch seconds), from which snapshot, and its last fact. `remove_unknown`: see `db restore`."""

    id: int
    at: float
    snapshot: str
    snapshot_at: float
    event_id: int
    remove_unknown: bool


class Unproven(msgspec.Struct, frozen=True, kw_only=True):
    """What the books cannot account for after a restore.

    `ended`: attempts that the books do not know and that were ended, by target; `gone`: attempts on record that their target
    does not know any more, made again. `unknown`: files that they do not know, by
    site; `removed` of them. `missing`: copies on record that are not there, by site. `unseen`: sites that could not be looked at.
    """

    ended: dict[str, list[str]] = {}
    gone: dict[str, list[str]] = {}
    unknown: dict[str, list[str]] = {}
    removed: int = 0
    missing: dict[str, list[str]] = {}
    unseen: dict[str, str] = {}

    @property
    def text(self) -> str:
        """The same in one sentence."""
        counts = (
            (sum(map(len, self.ended.values())), "unknown attempts ended"),
            (sum(map(len, self.gone.values())), "attempts on record gone and made again"),
            (sum(map(len, self.unknown.values())), f"unknown files, {self.removed} of them removed"),
            (sum(map(len, self.missing.values())), "copies on record that are not there"),
            (len(self.unseen), "sites that could not be looked at"),
        )
        return ", ".join(f"{count} {what}" for count, what in counts)


looked_at(Unproven)


async def restore(
    snapshot: Path, url: str, *, clock: Clock, remove_unknown: bool = False, progress: Progress = lambda *_: None
) -> Restoration:
    """Put a snapshot where the store is to be; the next start of the agent finds out what has happened since.

    A file that is there is put aside as NAME.lost-TIME; a database of a server must be empty. Raises StoreInUse for a live
    store, StoreCorrupt for a snapshot that is not sound, StoreError; then nothing has changed.
    """
    now = clock.time()
    done = _begun(snapshot, now, remove_unknown=remove_unknown)
    address = parse(url)
    if is_file(address):
        return _into_file(snapshot, Path(str(address.database)), done)
    made = snapshot.with_name(f".{snapshot.name}.restoring")
    try:
        done = _prepare(snapshot, made, done)
        await copying.copy(f"sqlite:///{made}", url, clock=clock, progress=progress)
    finally:
        for part in made.parent.glob(f"{made.name}*"):
            part.unlink()
    return done


def _begun(snapshot: Path, now: float, *, remove_unknown: bool) -> Restoration:
    event_id = backup.check(snapshot, now)
    known = {found.path: found.at for found in backup.snapshots(snapshot.parent)}
    made_at = known.get(snapshot, snapshot.stat().st_mtime)
    return Restoration(1, now, str(snapshot.absolute())[-500:], made_at, event_id, remove_unknown)


def _into_file(snapshot: Path, place: Path, done: Restoration) -> Restoration:
    made = place.with_name(f"{place.name}.restoring")
    lock = FileLock(place)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        done = _prepare(snapshot, made, done)
        aside = f"lost-{datetime.fromtimestamp(done.at, UTC):%Y%m%dT%H%M%SZ}"
        for part in ("-wal", "-shm", ""):
            if (old := place.with_name(f"{place.name}{part}")).exists():
                old.rename(place.with_name(f"{place.name}.{aside}{part}"))
        made.rename(place)
        backup.on_disk(place.parent)
    except OSError as error:
        raise StoreError(
            f"store {place}: {error.strerror or error}; expected a directory that can be written"
        ) from error
    finally:
        made.unlink(missing_ok=True)
        lock.release()
    return done


def _prepare(snapshot: Path, made: Path, done: Restoration) -> Restoration:
    """Make a copy of the snapshot that knows that it was restored, and whose facts get ids that were never given."""
    made.unlink(missing_ok=True)
    shutil.copyfile(snapshot, made)
    engine = connect(made, writer=True)
    try:
        with engine.connect() as connection:
            unit = Unit(connection, done.at, "restore", None)
            log.go_on_after(unit, done.event_id + GAP)
            values = {name: value for name, value in done._asdict().items() if name != "id"}
            row = connection.execute(restoration.insert().values(**values))
            connection.commit()
        assert row.inserted_primary_key is not None
        done = done._replace(id=int(row.inserted_primary_key[0]))
    finally:
        engine.dispose()
    backup.on_disk(made)
    return done


def unsettled(connection: sa.Connection) -> Restoration | None:
    """Return the last restore if it is not known yet what has happened since its snapshot."""
    query = sa.select(*(restoration.c[name] for name in Restoration._fields), restoration.c.settled_at)
    row = connection.execute(query.order_by(restoration.c.id.desc()).limit(1)).one_or_none()
    return None if row is None or row.settled_at is not None else Restoration(*row[:-1])


def settle(tx: Tx, done: Restoration, found: Unproven) -> None:
    """All that can be found out is found out."""
    report = msgspec.json.encode(found).decode()
    tx.connection.execute(
        restoration.update().where(restoration.c.id <= done.id).values(settled_at=tx.now, report=report)
    )


def last_report(connection: sa.Connection) -> tuple[float, Unproven] | None:
    """Return when the last restore was settled (UTC epoch seconds) and what could not be proven then."""
    query = sa.select(restoration.c.settled_at, restoration.c.report).where(restoration.c.report.is_not(None))
    row = connection.execute(query.order_by(restoration.c.id.desc()).limit(1)).one_or_none()
    return None if row is None else (row.settled_at, msgspec.json.decode(row.report, type=Unproven))


def strangers(connection: sa.Connection, tokens: list[str]) -> list[str]:
    """Return which of the tokens no attempt on record has."""
    token = schema.attempt.c.token
    known: set[str] = set()
    for start in range(0, len(tokens), 500):
        part = tokens[start : start + 500]
        known.update(connection.execute(sa.select(token).where(token.in_(part))).scalars())
    return [each for each in tokens if each not in known]


def make_again(tx: Tx, site: str, lfns: list[str]) -> list[int]:
    """Have the jobs run again whose small files were deleted since the snapshot; return the files.

    Their content went into merged files that these books do not know. Merges that wait for them are ended.
    """
    waiting = (FileState.UNMERGED, FileState.UNDERMERGE)
    rows = [
        row
        for start in range(0, len(lfns), 500)
        for row in tx.connection.execute(
            sa.select(file.c.id, file.c.job_id).where(
                file.c.lfn.in_(lfns[start : start + 500]), file.c.site == site, file.c.state.in_(waiting)
            )
        )
    ]
    ids = [row.id for row in rows]
    reason = "its file was deleted after the snapshot that the store was restored from"
    merges = (
        sa.select(merge_input.c.job_id)
        .join(job, job.c.id == merge_input.c.job_id)
        .where(among(merge_input.c.file_id, ids), merge_input.c.live == 1, job.c.state.in_(UNFINISHED))
    )
    if ended := sorted(set(tx.connection.execute(merges).scalars())):
        dissolve_merges(tx, ended, reason)
        kill(tx, ended, reason)
    spoiled = move(tx, file, FILE_TABLE, e.FilesInvalidated(ids=ids, reason=reason)) if ids else []
    produce_again(tx, sorted({row.job_id for row in rows if row.id in set(spoiled)}))
    return spoiled

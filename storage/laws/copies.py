"""What the storages should hold, for a look at the storages themselves."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from domain.file import FileState
from storage import schema
from storage.engine import among
from storage.laws.outputs import GOING

attempt, file, replica, volume = schema.attempt, schema.file, schema.replica, schema.volume

_MADE_BY = re.compile(r"/(\d{10})-([^/.]+)[^/]*$")
"""Job and beginning of the token in a file name, as domain/jobspec.py writes it."""


class Copy(NamedTuple):
    """A copy on record that nobody has been allowed to delete."""

    replica_id: int
    file_id: int
    lfn: str
    site: str
    size: int
    adler32: str
    sha256: str


def copies(connection: sa.Connection, after: int, limit: int) -> list[Copy]:
    """Return the next copies behind `after`, a replica's id."""
    query = sa.select(replica.c.id, file.c.id, file.c.lfn, replica.c.site, file.c.size, file.c.adler32, file.c.sha256)
    wanted = query.join(file, file.c.id == replica.c.file_id).where(
        replica.c.id > after, file.c.state.not_in((*GOING, FileState.INVALID))
    )
    return [Copy(*row) for row in connection.execute(wanted.order_by(replica.c.id).limit(limit))]


def still_on_record(connection: sa.Connection, found: Sequence[Copy]) -> list[Copy]:
    """Return which of the copies are still on record: what was asked for a moment ago may have been deleted since."""
    ids = [copy.replica_id for copy in found]
    query = sa.select(replica.c.id).join(file, file.c.id == replica.c.file_id)
    kept = query.where(among(replica.c.id, ids), file.c.state.not_in((*GOING, FileState.INVALID)))
    present = set(connection.execute(kept).scalars())
    return [copy for copy in found if copy.replica_id in present]


def unknown(connection: sa.Connection, site: str, lfns: Sequence[str]) -> list[str]:
    """Return which of the files that lie at a site are on record there neither as copies nor as kept logs and outputs."""
    query = sa.select(file.c.lfn).join(replica, replica.c.file_id == file.c.id)
    known = set(connection.execute(query.where(replica.c.site == site, file.c.lfn.in_(lfns))).scalars())
    kept = sa.select(volume.c.name).where(volume.c.site == site, volume.c.name.in_(lfns))
    known.update(connection.execute(kept).scalars())
    return [lfn for lfn in lfns if lfn not in known]


def maker(connection: sa.Connection, lfn: str) -> str | None:
    """Return what became of the attempt that wrote a file: "live", its outcome, or None if no attempt has this name."""
    parts = _MADE_BY.search(lfn)
    if parts is None:
        return None
    query = sa.select(attempt.c.token, attempt.c.live, attempt.c.outcome).where(attempt.c.job_id == int(parts[1]))
    for token, live, outcome in connection.execute(query):
        if token.startswith(parts[2]):
            return "live" if live else str(outcome)
    return None


def nobodys(connection: sa.Connection, site: str, lfns: Sequence[str]) -> list[str]:
    """Return which of the files at a site are not on record there, nor under way to it, nor of an attempt on record."""
    strange = unknown(connection, site, lfns)
    return [lfn for lfn in strange if not registered(connection, lfn) and maker(connection, lfn) is None]


def registered(connection: sa.Connection, lfn: str) -> bool:
    """Whether the catalogue knows the file at all: a copy that is on its way is published before it is booked."""
    return connection.execute(sa.select(file.c.id).where(file.c.lfn == lfn)).first() is not None


def last_fact_at(connection: sa.Connection) -> float:
    """Return when the newest fact was written (UTC epoch seconds), 0 if there is none."""
    newest = sa.select(schema.event.c.at).order_by(schema.event.c.id.desc()).limit(1)
    return float(connection.execute(newest).scalar_one_or_none() or 0.0)

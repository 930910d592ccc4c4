"""Archives of attempts: in which volume each is, and which volumes may go (PA-414).

A volume is a file of the agent's own, or one that a node left at a site (the log of a job, the output of a failed one). Its
row is written with the books of its attempts, and removed when the file is: whoever dies in between leaves a row without a
file or a file without a row, and the next look removes either.
"""

from collections.abc import Iterable, Sequence
from itertools import count
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from domain.archive import Kind, Term
from storage import bulk, schema
from storage.engine import Connection, among, among_words
from storage.jobs import next_id
from storage.transaction import Tx

attempt, job, workflow, volume, archive = (
    schema.attempt, schema.job, schema.workflow, schema.volume, schema.archive,
)  # fmt: skip

OWN = ""
"""As site: the agent's own directory."""


class Volume(NamedTuple):
    """A file with the archives of attempts, or `site` = where a node left one; `size` in bytes."""

    name: str
    kind: Kind
    size: int
    attempts: Sequence[int]
    site: str = OWN


class Old(NamedTuple):
    """A volume that may go."""

    id: int
    name: str
    site: str


_BOOKED = sa.select(volume.c.id, volume.c.name).where(among_words(volume.c.name))
_HELD = sa.select(archive.c.attempt_id, archive.c.volume_id).where(among(archive.c.volume_id))
_WITH_FAILURE = (
    sa.select(archive.c.volume_id)
    .join(attempt, attempt.c.id == archive.c.attempt_id)
    .where(among(archive.c.volume_id), attempt.c.outcome.in_(schema.FAILED))
    .distinct()
)
_AS_FAILURE = volume.update().where(among(volume.c.id)).values(kind=Kind.FAILURE)


def note(tx: Tx, made: Iterable[Volume]) -> None:
    """Book volumes; one that is booked gets the attempts that it has not. One with a failure in it is kept as such."""
    listed = list(made)
    if not listed:
        return
    ids = {row.name: row.id for row in tx.connection.execute(_BOOKED, {"words": [one.name for one in listed]})}
    held = {(row.attempt_id, row.volume_id) for row in tx.connection.execute(_HELD, {"ids": list(ids.values())})}
    new = {one.name: one for one in listed if one.name not in ids}
    ids |= dict(zip(new, count(next_id(tx.connection, volume))))
    rows = [
        {"id": ids[name], "kind": one.kind, "site": one.site, "name": name, "size": one.size, "made_at": tx.now}
        for name, one in new.items()
    ]
    bulk.insert(tx.connection, volume, rows)
    pairs = sorted({(each, ids[one.name]) for one in listed for each in one.attempts} - held)
    bulk.insert(tx.connection, archive, [{"attempt_id": each, "volume_id": which} for each, which in pairs])
    good = [ids[one.name] for one in listed if one.kind is Kind.SUCCESS]
    if spoiled := list(tx.connection.execute(_WITH_FAILURE, {"ids": good}).scalars()):
        tx.connection.execute(_AS_FAILURE, {"ids": spoiled})


class Lacking(NamedTuple):
    """A failed attempt without an archive."""

    id: int
    job: int
    number: int
    token: str
    site: str
    target: str
    node: str
    code: int | None
    cause: str | None
    log: str | None


_LACKING: sa.Select[Any] = (
    sa.select(
        attempt.c.id, attempt.c.job_id, attempt.c.number, attempt.c.token, attempt.c.site, attempt.c.target,
        attempt.c.node, attempt.c.exit_code, attempt.c.cause, attempt.c.log,
    )
    .where(among(attempt.c.id), attempt.c.outcome.in_(schema.FAILED))
    .where(~sa.exists().where(archive.c.attempt_id == attempt.c.id))
    .order_by(attempt.c.id)
)  # fmt: skip


def lacking(connection: Connection, attempt_ids: Sequence[int]) -> list[Lacking]:
    """Return which of these attempts failed and have no archive: they left no report."""
    return [Lacking(*row) for row in connection.execute(_LACKING, {"ids": attempt_ids})]


_OLD = (
    sa.select(volume.c.id, volume.c.name, volume.c.site)
    .where(volume.c.kind == sa.bindparam("kind"), volume.c.made_at < sa.bindparam("before"))
    .order_by(volume.c.made_at)
    .limit(sa.bindparam("most"))
)
_TAKEN = sa.select(sa.func.coalesce(sa.func.sum(volume.c.size), 0)).where(volume.c.site == OWN)
_OLDEST = (
    sa.select(volume.c.id, volume.c.name, volume.c.site, volume.c.size)
    .where(volume.c.site == OWN)
    .order_by(volume.c.id)
    .limit(sa.bindparam("most"))
)


def old(connection: Connection, term: Term, now: float, limit: int) -> list[Old]:
    """Return at most `limit` volumes that may go: those whose time is over, and the oldest of one's own beyond the most bytes."""
    found: dict[int, Old] = {}
    for kind, kept_s in ((Kind.SUCCESS, term.success_s), (Kind.FAILURE, term.failure_s)):
        given = {"kind": kind, "before": now - kept_s, "most": limit}
        found |= {row.id: Old(*row) for row in connection.execute(_OLD, given)}
    over = taken(connection) - term.most_bytes
    for row in connection.execute(_OLDEST, {"most": limit}) if over > 0 else ():
        if over <= 0:
            break
        over -= row.size
        found[row.id] = Old(*row[:3])
    return sorted(found.values())[:limit]


def taken(connection: Connection) -> int:
    """Return the bytes of the volumes in the agent's own directory."""
    return int(connection.execute(_TAKEN).scalar_one())


def forget(tx: Tx, ids: Sequence[int]) -> None:
    """The files of these volumes are gone."""
    tx.connection.execute(archive.delete().where(among(archive.c.volume_id, ids)))
    tx.connection.execute(volume.delete().where(among(volume.c.id, ids)))


_NAMED = sa.select(volume.c.name).where(among_words(volume.c.name))


def booked(connection: Connection, names: Sequence[str]) -> set[str]:
    """Return which of the names are those of booked volumes."""
    return set(connection.execute(_NAMED, {"words": names}).scalars())


class Kept(msgspec.Struct, frozen=True):
    """An archive of a job: of which attempt, how that ended, and where it is: `place` a site, "" with the agent; `size` of
    all that lies there together, in bytes."""

    job: int
    attempt: int
    token: str
    outcome: str | None
    code: int | None
    site: str
    closed_at: float | None
    kind: str
    place: str
    name: str
    size: int


_KEPT: sa.Select[Any] = (
    sa.select(
        attempt.c.job_id, attempt.c.number, attempt.c.token, attempt.c.outcome, attempt.c.exit_code, attempt.c.site,
        attempt.c.closed_at, volume.c.kind, volume.c.site.label("place"), volume.c.name, volume.c.size,
    )
    .join(archive, archive.c.attempt_id == attempt.c.id)
    .join(volume, volume.c.id == archive.c.volume_id)
    .where(among(attempt.c.job_id))
    .order_by(attempt.c.job_id, attempt.c.number, volume.c.id)
)  # fmt: skip


def of_jobs(connection: Connection, job_ids: Sequence[int]) -> list[Kept]:
    """Return the archives of jobs, oldest attempt first."""
    return [Kept(*row) for row in connection.execute(_KEPT, {"ids": list(job_ids)})]

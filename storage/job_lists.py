"""Sites where single jobs may run and where not, beside the lists of their workflow (PA-205)."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from domain.job import OVER, JobState, JobType
from domain.siting import Lists
from storage import bulk, schema
from storage.engine import among
from storage.transaction import Tx

job, job_list = schema.job, schema.job_list


class Listed(NamedTuple):
    """A job with lists of its own; `pinned`: the site of its input, `site`: where it is."""

    id: int
    workflow_id: int
    type: JobType
    pinned: str | None
    site: str | None
    own: Lists


_LISTS = sa.select(job_list.c.job_id, job_list.c.sites, job_list.c.deny_sites).order_by(job_list.c.job_id)
_COLUMNS = (job.c.id, job.c.workflow_id, job.c.type, job.c.pinned, job.c.site, job.c.state)
_JOBS = sa.select(*_COLUMNS).where(among(job.c.id)).order_by(job.c.id)


def queued(connection: sa.Connection) -> list[Listed]:
    """Return those that are queued."""
    return _in_states(connection, JobState.QUEUED)


def misplaced(connection: sa.Connection) -> list[int]:
    """Return jobs that wait at a site which their own lists do not allow."""
    loose = _in_states(connection, JobState.RELEASED, JobState.PENDING)
    return [one.id for one in loose if not one.own.allow(one.site or "")]


def _in_states(connection: sa.Connection, *states: JobState) -> list[Listed]:
    """Return jobs with lists in these states: the few lists lead to their jobs, not the many jobs in a state to their lists."""
    known = _read(connection, _LISTS)
    rows = connection.execute(_JOBS, {"ids": list(known)}).all() if known else []
    return [
        Listed(identity, owner, JobType(kind), pinned, site, known[identity])
        for identity, owner, kind, pinned, site, state in rows
        if state in states
    ]


def load(connection: sa.Connection, ids: Iterable[int]) -> dict[int, Lists]:
    """Return the lists of those of these jobs that have some."""
    return _read(connection, _LISTS.where(among(job_list.c.job_id, list(ids))))


def _read(connection: sa.Connection, query: sa.Select[Any]) -> dict[int, Lists]:
    return {owner: lists(allowed, denied) for owner, allowed, denied in connection.execute(query)}


def lists(allowed: str | None, denied: str | None) -> Lists:
    """Return the lists as they are kept; None: there are none."""
    return Lists(*(frozenset(msgspec.json.decode(text or "[]", type=list[str])) for text in (allowed, denied)))


def words(connection: sa.Connection, identity: int) -> str:
    """Return what was said of one job, and whose word that is; "" = nothing."""
    row = connection.execute(sa.select(job_list).where(job_list.c.job_id == identity)).one_or_none()
    if row is None:
        return ""
    return f"{lists(row.sites, row.deny_sites).words} ({row.who}{': ' if row.reason else ''}{row.reason})"


def put(tx: Tx, ids: list[int], own: Lists, who: str, reason: str) -> None:
    """Give jobs these lists in place of those that they had; without any site named they have none."""
    tx.connection.execute(job_list.delete().where(among(job_list.c.job_id, ids)))
    allowed, denied = (msgspec.json.encode(sorted(sites)).decode() for sites in own)
    said = {"sites": allowed, "deny_sites": denied, "who": who, "reason": reason[:500], "since": tx.now}
    if any(own):
        bulk.insert(tx.connection, job_list, [{"job_id": identity, **said} for identity in ids])


def prune(tx: Tx) -> None:
    """Forget the lists of jobs that have ended for good."""
    ids = [one.id for one in _in_states(tx.connection, *OVER)]
    tx.connection.execute(job_list.delete().where(among(job_list.c.job_id, ids)))

"""What the next attempt of a job is to have that its workflow does not say: more memory or time, another site or node."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from storage import bulk, schema
from storage.engine import Connection, among
from storage.transaction import Tx

adjustment, job, workflow = schema.adjustment, schema.job, schema.workflow


class Adjustment(NamedTuple):
    """Of one job. Until `until` (UTC epoch seconds) it keeps away from `site` (or a target of this name) where another may take
    it, and from `node` at that site; `memory_mb` (10**6 bytes) and `wall_s` (seconds) are in place of its workflow's;
    `releases`: how often its present attempt was released from a hold; `reason`: what it was last adjusted for."""

    site: str = ""
    node: str = ""
    until: float | None = None
    memory_mb: int | None = None
    wall_s: int | None = None
    releases: int = 0
    reason: str = ""


_COLUMNS = tuple(adjustment.c[name] for name in Adjustment._fields)


_OF_JOBS = sa.select(adjustment.c.job_id, *_COLUMNS).where(among(adjustment.c.job_id))


def load(connection: Connection, job_ids: Iterable[int]) -> dict[int, Adjustment]:
    """Return the adjustments of those of these jobs that have one."""
    return {owner: Adjustment(*rest) for owner, *rest in connection.execute(_OF_JOBS, {"ids": list(job_ids)})}


def put(tx: Tx, changed: Mapping[int, Adjustment]) -> None:
    """Replace the adjustments of jobs."""
    if not changed:
        return
    tx.connection.execute(adjustment.delete().where(among(adjustment.c.job_id, list(changed))))
    rows = [{"job_id": owner, **one._asdict(), "reason": one.reason[:500]} for owner, one in changed.items()]
    bulk.insert(tx.connection, adjustment, rows)


def with_needs(connection: Connection, workflow_name: str) -> list[int]:
    """Return the jobs of a workflow that get more memory or time than it says."""
    more = sa.or_(adjustment.c.memory_mb.is_not(None), adjustment.c.wall_s.is_not(None))
    query = sa.select(adjustment.c.job_id).join(job, job.c.id == adjustment.c.job_id).join(workflow)
    found = connection.execute(query.where(workflow.c.name == workflow_name, more).order_by(adjustment.c.job_id))
    return list(found.scalars())


def drop(tx: Tx, job_ids: Iterable[int]) -> None:
    """These jobs are to have what their workflow says again."""
    tx.connection.execute(adjustment.delete().where(among(adjustment.c.job_id, list(job_ids))))


def avoiding(connection: Connection, job_ids: Iterable[int], now: float) -> dict[int, str]:
    """Return the sites, or targets, that jobs keep away from now."""
    away = (adjustment.c.site != "", adjustment.c.until > now)
    query = sa.select(adjustment.c.job_id, adjustment.c.site).where(among(adjustment.c.job_id, list(job_ids)), *away)
    return {row.job_id: row.site for row in connection.execute(query)}

"""Thresholds of targets that grow while all they get runs, and fall back by themselves (PA-208)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from config.settings import Settings
from domain.job import JobState, JobType
from domain.thresholds import Load, desired, hungry, threshold
from storage import alerts, schema
from storage.transaction import Tx

table = schema.threshold

LEAST = 1
"""Fewest jobs that should wait at a target."""
WAITING = (JobState.RELEASED, JobState.SUBMITTING, JobState.PENDING)
FRESH_S = 600.0
"""A threshold that is in full use is noted to be after so many seconds: it falls back from then on, not from when it grew."""
Counts = Mapping[tuple[JobType, str], int]


class Grown(NamedTuple):
    """A threshold that differs from the configured one, and when it was set or last seen in full use (UTC epoch seconds)."""

    value: float
    at: float


class Change(NamedTuple):
    """A new threshold: `after` jobs of a type at a target, where it was `before`."""

    target: str
    type: JobType
    before: float
    after: float
    base: int


def load(connection: sa.Connection) -> dict[str, dict[JobType, Grown]]:
    """Return the thresholds that differ, by target and type."""
    found: dict[str, dict[JobType, Grown]] = defaultdict(dict)
    for row in connection.execute(sa.select(table)):
        found[row.target][JobType(row.type)] = Grown(row.value, row.at)
    return found


def changes(
    grown: Mapping[str, Mapping[JobType, Grown]], settings: Settings, loads: Mapping[str, Counts], now: float
) -> list[Change]:
    """Return the thresholds that are to change now; `loads`: jobs by type and state at each target."""
    found = []
    for site in settings.sites.values():
        for name, target in site.targets.items():
            if not target.limits.dynamic:
                continue
            for kind in JobType:
                base = int(getattr(target.limits, kind))
                old = grown.get(name, {}).get(kind, Grown(base, now))
                waiting = desired(base, LEAST, target.max_submit)
                hours = max(0.0, now - old.at) / 3600.0
                there = _load(loads.get(name, {}), kind)
                new = threshold(old.value, base, there, waiting=waiting, hours=hours)
                still = kind in grown.get(name, {}) and hungry(there, base, waiting) and now - old.at > FRESH_S
                if int(new) != int(old.value) or still:
                    found.append(Change(name, kind, old.value, new, base))
    return found


def book(tx: Tx, new: Sequence[Change]) -> None:
    """Set thresholds, and write each change down; one that is the same is seen in full use."""
    for change in new:
        row = (table.c.target == change.target, table.c.type == change.type)
        tx.connection.execute(table.delete().where(*row))
        if change.after > change.base:
            values = {"target": change.target, "type": change.type, "value": change.after, "at": tx.now}
            tx.connection.execute(table.insert().values(values))
        if int(change.after) == int(change.before):
            continue
        what = f"{change.target} {change.type}: {change.before:.0f} -> {change.after:.0f} (configured {change.base})"
        alerts.record(tx, "queue", "threshold", what, "")


def _load(counts: Counts, kind: JobType) -> Load:
    return Load(
        pending=sum(counts.get((kind, state), 0) for state in WAITING),
        running=counts.get((kind, JobState.RUNNING), 0),
        ended=counts.get((kind, JobState.ENDED), 0),
    )

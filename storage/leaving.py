"""Targets that were taken out of the configuration while they held something: kept with their settings until they are empty.

So the agent that took them out can be killed: the next one reads them from here beside its file.
"""

from collections.abc import Iterable
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from config.faults import convert_collecting
from config.keys import plain
from config.settings import Settings
from config.site_settings import Site
from domain.file import FileState
from domain.job import AT_TARGET, JobState, JobType
from storage import added_sites, counters, schema
from storage.endings import endings
from storage.spread import BOUND
from storage.transaction import Tx

leaving, tally, transfer = schema.leaving, schema.tally, schema.transfer

THERE = (JobState.RELEASED, *AT_TARGET, JobState.ENDED, JobState.LOST)
"""Jobs that a target has to be asked about."""
NEEDED = (FileState.UNMERGED, FileState.UNDERMERGE, FileState.MERGED, FileState.REGISTERED, FileState.REMOVING)
"""Files that something is still to be done with where they lie."""


class Leaving(NamedTuple):
    """A target on its way out: its site as it was configured, with this target alone; `since` in UTC epoch seconds."""

    target: str
    site: str
    settings: Site
    since: float


def load(connection: sa.Connection) -> list[Leaving]:
    """Return them; one whose settings cannot be read any more is left out."""
    found = []
    for row in connection.execute(sa.select(leaving).order_by(leaving.c.target)):
        settings, faults = convert_collecting(msgspec.json.decode(row.settings), Site, "leaving")
        if not faults:
            found.append(Leaving(row.target, row.site, settings, row.since))
    return found


def names(connection: sa.Connection) -> frozenset[str]:
    return frozenset(connection.execute(sa.select(leaving.c.target)).scalars())


def of(settings: Settings, targets: Iterable[str], now: float) -> list[Leaving]:
    """Return these targets of the settings as they leave at a time (UTC epoch seconds)."""
    wanted = set(targets)
    return [
        Leaving(target, name, msgspec.structs.replace(site, targets={target: each}, stage_out_fallback=[]), now)
        for name, site in settings.sites.items()
        for target, each in site.targets.items()
        if target in wanted
    ]


def put(tx: Tx, gone: Iterable[Leaving]) -> None:
    """Note that they leave, in place of all that was noted before."""
    since = {one.target: one.since for one in load(tx.connection)}
    tx.connection.execute(leaving.delete())
    for one in gone:
        values = {
            "target": one.target,
            "site": one.site,
            "settings": msgspec.json.encode(plain(one.settings)).decode(),
            "since": since.get(one.target, one.since),
        }
        tx.connection.execute(leaving.insert().values(**values))


def drop(tx: Tx, targets: Iterable[str]) -> None:
    """They are back, or empty."""
    tx.connection.execute(leaving.delete().where(leaving.c.target.in_(list(targets))))


def added(settings: Settings, known: Iterable[Leaving]) -> Settings:
    """Return the settings with those that leave beside those that are configured."""
    sites = dict(settings.sites)
    present = {name for site in sites.values() for name in site.targets}
    for one in known:
        if one.target not in present:
            site = sites.get(one.site, msgspec.structs.replace(one.settings, targets={}))
            targets = {**site.targets, one.target: one.settings.targets[one.target]}
            sites[one.site] = msgspec.structs.replace(site, targets=targets)
    return msgspec.structs.replace(settings, sites=sites)


def beside(connection: sa.Connection, settings: Settings) -> Settings:
    """Return the settings of a file as an agent that runs on them has them."""
    return added(added_sites.beside(connection, settings), load(connection))


def left(connection: sa.Connection, target: str, site: str, *, last: bool) -> str:
    """Return what is left to do at a target, "" = nothing; `last`: nothing else of its site is configured, so that its storage
    and its merges count too."""
    ending = sum(one.attempts for one in endings(connection) if one.target == target)
    at_target = counters.items(connection, counters.JOB, THERE, tally.c.target == target)
    counts = {"jobs": at_target, "attempts whose end is not confirmed": ending}
    if last:
        accounted = tally.c.target == target, tally.c.type == JobType.PROCESSING
        counts["outputs"] = counters.items(connection, counters.JOB, [JobState.ACCOUNTED], *accounted)
        counts["merges"] = counters.items(connection, counters.JOB, BOUND, tally.c.site == site)
        counts["files"] = counters.items(connection, counters.FILE, NEEDED, tally.c.site == site)
        if not any(counts.values()):  # no index leads to them, so they are asked for last
            counts["transfers"] = _transfers(connection, transfer.c.source == site)
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count)


def in_use(connection: sa.Connection, name: str, site: Site) -> str:
    """Return what is under way at a site or on its way there, "" = nothing."""
    there = [left(connection, target, name, last=True) for target in site.targets or [""]]
    if coming := _transfers(connection, transfer.c.destination == name):
        there.append(f"{coming} transfers to it")
    return "; ".join(filter(None, there))


def _transfers(connection: sa.Connection, chosen: sa.ColumnElement[bool]) -> int:
    """Return how many of the chosen transfers have not arrived."""
    query = sa.select(sa.func.count()).where(transfer.c.state.not_in(counters.ARRIVED), chosen)
    return int(connection.execute(query).scalar_one())

"""Sites that operators added while the agent ran, beside those of its file (PA-205): what the file names is not read from here."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from config.faults import convert_collecting
from config.keys import plain
from config.secret import veiled
from config.settings import Settings
from config.site_settings import Site
from storage import schema
from storage.transaction import Tx

added_site = schema.added_site


class Added(NamedTuple):
    """A site with the table that it would have in a file; `since` in UTC epoch seconds."""

    name: str
    table: dict[str, Any]
    who: str
    reason: str
    since: float


def load(connection: sa.Connection) -> dict[str, Added]:
    """Return them by name."""
    query = sa.select(added_site).order_by(added_site.c.name)
    return {row.name: Added(row.name, msgspec.json.decode(row.settings), *row[2:]) for row in connection.execute(query)}


def authors(connection: sa.Connection) -> dict[str, str]:
    """Return who added each."""
    return {row.name: row.who for row in connection.execute(sa.select(added_site.c.name, added_site.c.who))}


def tables(connection: sa.Connection) -> dict[str, Any]:
    """Return their tables by name, as config.loader takes them."""
    return {name: one.table for name, one in load(connection).items()}


class SiteRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A site as the table that it is, or would be, in the file; `who` added it, why and since when (UTC epoch seconds), null: it
    stands in the file."""

    name: str
    site: dict[str, Any]
    who: str | None = None
    reason: str = ""
    since: float | None = None


def record(connection: sa.Connection, settings: Settings, name: str) -> SiteRecord | None:
    """Return a site of the settings or one that was added, None if there is none of this name; without secrets."""
    one = load(connection).get(name)
    if one is not None:
        return SiteRecord(name=name, site=veiled(one.table), who=one.who, reason=one.reason, since=one.since)
    return SiteRecord(name=name, site=veiled(plain(settings.sites[name]))) if name in settings.sites else None


def put(tx: Tx, name: str, site: Site, who: str, reason: str) -> None:
    """Add a site, or replace one that was added."""
    drop(tx, [name])
    settings = msgspec.json.encode(plain(site)).decode()
    values = {"name": name, "settings": settings, "who": who, "reason": reason[:500], "since": tx.now}
    tx.connection.execute(added_site.insert().values(**values))


def drop(tx: Tx, names: Iterable[str]) -> None:
    """These are gone, or the file names them now."""
    tx.connection.execute(added_site.delete().where(added_site.c.name.in_(list(names))))


def beside(connection: sa.Connection, settings: Settings) -> Settings:
    """Return the settings with them; one that cannot be read any more is left out."""
    sites = dict(settings.sites)
    for name, table in tables(connection).items():
        site, faults = convert_collecting(table, Site, name)
        if name not in sites and not faults:
            sites[name] = site
    return msgspec.structs.replace(settings, sites=sites)

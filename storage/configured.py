"""Targets and hosts as the agent knew them last: at its start it sees what was taken out of its file while it was dead (PA-205).

What is gone then leaves as with a reload (storage/leaving.py): the jobs that it holds have somebody who asks after them.
"""

import msgspec
import sqlalchemy as sa

from config.faults import convert_collecting
from config.keys import plain
from config.settings import Settings
from config.site_settings import Host, Site
from domain import events as e
from storage import leaving, schema
from storage.leaving import Leaving
from storage.transaction import Tx

configured = schema.configured

TARGET, HOST = "target", "host"


def begin(tx: Tx, settings: Settings) -> list[str]:
    """Note what the file says at the start of an agent; targets that are gone since the last one, and hold something, leave and are
    returned."""
    known = leaving.load(tx.connection)
    there = {name for site in settings.sites.values() for name in site.targets} | {one.target for one in known}
    gone = [
        one._replace(since=tx.now)
        for one in _targets(tx.connection)
        if one.target not in there
        and leaving.left(tx.connection, one.target, one.site, last=one.site not in settings.sites)
    ]
    if gone:
        leaving.put(tx, [*known, *gone])
        told = [f"target {one.target}: not in the file any more; it runs empty" for one in gone]
        tx.emit(e.SettingsChanged(ids=[1], who="start", changes=told[:100]))
    remember(tx, settings)
    return [one.target for one in gone]


def remember(tx: Tx, settings: Settings) -> None:
    """Note the targets and hosts of a configuration; hosts that it names no longer stay while any target leaves."""
    hosts = dict(settings.hosts)
    if leaving.names(tx.connection):
        hosts = {**_hosts(tx.connection), **hosts}
    every = {name: site for site in settings.sites.values() for name in site.targets}
    rows = [
        {"kind": TARGET, "name": one.target, "site": one.site, "settings": _text(one.settings)}
        for one in leaving.of(settings, every, tx.now)
    ]
    rows += [{"kind": HOST, "name": name, "site": "", "settings": _text(host)} for name, host in hosts.items()]
    tx.connection.execute(configured.delete())
    if rows:
        tx.connection.execute(configured.insert(), rows)


def beside(connection: sa.Connection, settings: Settings) -> Settings:
    """Return the settings of a file with targets that leave, and the hosts that these may need."""
    found = leaving.beside(connection, settings)
    return msgspec.structs.replace(found, hosts={**_hosts(connection), **found.hosts})


def _text(settings: msgspec.Struct) -> str:
    return msgspec.json.encode(plain(settings)).decode()


def _targets(connection: sa.Connection) -> list[Leaving]:
    """Return those noted; one whose settings cannot be read any more is left out."""
    query = sa.select(configured).where(configured.c.kind == TARGET).order_by(configured.c.name)
    found = []
    for row in connection.execute(query):
        settings, faults = convert_collecting(msgspec.json.decode(row.settings), Site, "configured")
        if not faults:
            found.append(Leaving(row.name, row.site, settings, 0.0))
    return found


def _hosts(connection: sa.Connection) -> dict[str, Host]:
    query = sa.select(configured).where(configured.c.kind == HOST).order_by(configured.c.name)
    found = {}
    for row in connection.execute(query):
        settings, faults = convert_collecting(msgspec.json.decode(row.settings), Host, "configured")
        if not faults:
            found[row.name] = settings
    return found

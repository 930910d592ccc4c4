"""What has to be made anew when other settings take the place of those in force."""

from typing import NamedTuple

import msgspec

from backends.channel.hosts import reached_otherwise
from config.rules import hosts_of
from config.settings import Settings
from config.site_settings import Target

AT_EACH_LOOK = ("agent", "admin", "hosts", "sites", "prodmgr", "quality", "supervision", "actors")
"""Tables that are read at each look, or cannot change live, or are looked at below."""
KEEPERS: dict[str, tuple[str, ...]] = {
    "queue": ("queue", "steward", "reviser"),
    "feed": ("feed", "steward"),
    "errors": ("error",),
    "report": ("report",),
    "merge": ("merge",),
    "catalogue": ("catalogue",),
    "transfer": ("transfer",),
    "cleanup": ("cleanup",),
    "monitor": ("monitor",),
    "disk": ("guard",),
    "backup": ("backup",),
}
"""Who keeps something of a table, its interval at least, and is replaced when it changes."""
STAGES = (
    "postmaster", "monitor", "drainer", "keeper", "injector", "creator", "steward", "reviser", "queue", "report", "error",
    "merge", "catalogue", "transfer", "cleanup",
)  # fmt: skip
"""Who is replaced when any other table changes: whatever keeps something of it."""
JUDGED = ("enabled", "limits", "groups", "fillers")
"""Keys of a target that the queue reads at each look; any other is kept by its actors."""


class Renewal(NamedTuple):
    """What follows: targets whose actors are replaced or go, batch systems, storage elements and ProdMgrs to be made, actors to be
    replaced, and the level of the log if it changes."""

    targets: frozenset[str]
    batches: frozenset[str]
    storages: frozenset[str]
    managers: frozenset[str]
    actors: frozenset[str]
    log_level: str


def renewal(before: Settings, after: Settings) -> Renewal:
    """Return what has to be made anew."""
    old, new = _targets(before), _targets(after)
    tables = {name for name in after.__struct_fields__ if getattr(before, name) != getattr(after, name)}
    moved = reached_otherwise(before.hosts, after.hosts)
    batches = {
        name
        for name, target in new.items()
        if name not in old or old[name].options != target.options or not moved.isdisjoint(hosts_of(target.options))
    }
    changed = {name for name in old if name in new and _kept(old[name]) != _kept(new[name])}
    if tables & {"tracker", "events"}:
        changed |= old.keys() & new.keys()
    storages = {
        name
        for name, site in after.sites.items()
        if name not in before.sites
        or before.sites[name].storage != site.storage
        or not moved.isdisjoint(hosts_of(site.storage.options))
    }
    ours = {manager.name: manager for manager in before.prodmgr}
    managers = {each.name for each in after.prodmgr if ours.get(each.name) != each}
    actors = {f"allocation.{name}" for name in managers}
    for table in tables - {"tracker", *AT_EACH_LOOK}:
        actors.update(KEEPERS.get(table, STAGES))
    if storages & before.sites.keys():
        actors |= {"transfer", "cleanup"}
    return Renewal(
        targets=frozenset(changed | batches & old.keys() | old.keys() - new.keys()),
        batches=frozenset(batches),
        storages=frozenset(storages),
        managers=frozenset(managers),
        actors=frozenset(actors),
        log_level=after.agent.log_level if before.agent.log_level != after.agent.log_level else "",
    )


def _targets(settings: Settings) -> dict[str, Target]:
    return {name: target for site in settings.sites.values() for name, target in site.targets.items()}


def _kept(target: Target) -> Target:
    plain = Target(kind=target.kind)
    return msgspec.structs.replace(target, **{name: getattr(plain, name) for name in JUDGED})

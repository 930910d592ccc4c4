"""Open what an agent stands on, and close it again in reverse."""

import gc
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from msgspec import structs

from actors import curves
from actors.opener import Opener
from actors.world import World
from backends.batch.base import BatchSystem
from backends.channel.hosts import Hosts
from backends.opening import settings_of
from backends.prodmgr.base import ProdMgr
from backends.storage_element.base import StorageElement
from config.faults import Fault
from config.loader import ConfigError, Loaded, load
from domain.backoff import Curve
from runtime.build import build
from storage import added_sites, configured
from storage.backup import Backups
from storage.restoring import unsettled
from storage.sandboxes import Sandboxes
from storage.store import Store
from storage.stranded import stranded
from storage.volumes import Volumes
from supervisors import Clock, SystemClock

log = logging.getLogger("prodagent")

SWITCH_S = 1e-4
"""How long a thread may keep the interpreter, in seconds. SQLite's driver gives it away at each row and gets it back only
when the other thread has used this up; with Python's 5 ms a job's life took a fifth longer (bench/lifecycle.py)."""
COLLECT = (20_000, 10, 10)
"""How many objects may be new before the collector of garbage looks at them, and how often before it looks at older ones. Rows
are many objects and no garbage of its kind: with Python's 700 it took 0.19 ms of a job's 1.4 (bench/cms_year.py), now 0.04."""


@asynccontextmanager
async def open_world(loaded: Loaded, *, clock: Clock | None = None) -> AsyncIterator[World]:
    """Yield everything that the actors share. Raises ConfigError, StoreError and its kinds; nothing stays open then."""
    sys.setswitchinterval(SWITCH_S)
    gc.set_threshold(*COLLECT)
    clock = clock or SystemClock()
    state = Path(loaded.settings.agent.state)
    async with AsyncExitStack() as stack:
        store = await Store.open(loaded.store_url(), clock=clock)
        stack.push_async_callback(store.close)
        file = await _with_added(store, loaded)
        settings = file.settings
        for target in await store.write(lambda tx: configured.begin(tx, settings), sender="start"):
            log.warning("target %s is not in the file any more: it gets nothing new and goes when it is empty", target)
        loaded = structs.replace(file, settings=await store.read(lambda c: configured.beside(c, settings)))
        await _refuse_stranded(store, loaded)
        restored = await store.read(unsettled)
        hosts = Hosts(loaded.settings.hosts, clock)
        stack.push_async_callback(hosts.close)
        opener = Opener(file, hosts, {"runtime": _packed(state, loaded), "clock": clock})
        storages = opener.storages(loaded)
        stack.push_async_callback(_close, storages)
        batches = opener.batches(loaded)
        stack.push_async_callback(_close, batches)
        managers = opener.managers(loaded)
        stack.push_async_callback(_close, managers)
        yield World(
            settings=loaded.settings,
            store=store,
            clock=clock,
            sandboxes=Sandboxes(state / "sandboxes"),
            batches=batches,
            storages=storages,
            stage_out=opener.stage_out(loaded),
            managers=managers,
            hosts=hosts,
            backups=_backups(loaded),
            volumes=Volumes(state / "archives"),
            curves=_curves(loaded),
            restored=restored,
            opener=opener,
        )


async def _with_added(store: Store, loaded: Loaded) -> Loaded:
    """Return the configuration with the sites that operators added; those that the file names by now are the file's."""
    added = await store.read(added_sites.tables)
    if not added:
        return loaded
    found = load(loaded.path, settings_of, sites=added)
    if taken := added.keys() - found.added:
        await store.write(lambda tx: added_sites.drop(tx, taken), sender="start")
    return found


def _packed(state: Path, loaded: Loaded) -> Path:
    """Build the program that runs on worker nodes; a state directory that cannot be written shows here first."""
    try:
        return build(state / "runtime")
    except OSError as error:
        fault = Fault(
            where=str(loaded.path),
            key="agent.state",
            got=f"{state} ({error.strerror or error})",
            expected="a directory that can be made and written",
        )
        raise ConfigError([fault]) from None


async def _close(backends: Mapping[str, BatchSystem | StorageElement | ProdMgr]) -> None:
    """Close those that are in use at the end: others may have taken their places (actors/reloader.py)."""
    async with AsyncExitStack() as stack:
        for backend in backends.values():
            stack.push_async_callback(backend.close)


def _curves(loaded: Loaded) -> Mapping[str, Curve]:
    try:
        return curves.known(loaded.settings.errors)
    except curves.WrongCurve as wrong:
        raise ConfigError(
            [Fault(where=str(loaded.path), key=wrong.key, got=wrong.got, expected=wrong.expected)]
        ) from None


def _backups(loaded: Loaded) -> Backups | None:
    settings = loaded.settings
    sandboxes = Path(settings.agent.state) / "sandboxes"
    return Backups(loaded.store_url(), Path(settings.backup.directory), sandboxes) if settings.backup.enabled else None


async def _refuse_stranded(store: Store, loaded: Loaded) -> None:
    """Raise ConfigError if the store has attempts at a target that is not configured, nor remembered: nobody could ask after them.

    It has where an earlier release wrote it last, or where somebody else's store was restored."""
    known = {name for site in loaded.settings.sites.values() for name in site.targets}
    lost = await store.read(lambda c: stranded(c, known))
    if lost:
        raise ConfigError(
            Fault(
                where=str(loaded.path),
                key="sites",
                got=f"no target {name!r}, where the store has {count} jobs under way",
                expected=f"the target, with enabled = false to let them end; or, if it is gone for good: abandon {name}",
            )
            for name, count in sorted(lost.items())
        )

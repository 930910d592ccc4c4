"""Open what an agent stands on, and close it again in reverse."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from actors.world import World
from backends.channel.hosts import Hosts
from backends.opening import open_batches, open_storages, stage_out_rules
from backends.prodmgr.http import HttpProdMgr
from config.faults import Fault
from config.loader import ConfigError, Loaded
from config.secret import token
from runtime.build import build
from storage.backup import Backups
from storage.restoring import unsettled
from storage.sandboxes import Sandboxes
from storage.store import Store
from storage.stranded import stranded
from supervisors import Clock, SystemClock

SWITCH_S = 1e-4
"""How long a thread may keep the interpreter, in seconds. SQLite's driver gives it away at each row and gets it back only
when the other thread has used this up; with Python's 5 ms a job's life took a fifth longer (bench/lifecycle.py)."""


@asynccontextmanager
async def open_world(loaded: Loaded, *, clock: Clock | None = None) -> AsyncIterator[World]:
    """Yield everything that the actors share. Raises ConfigError, StoreError and its kinds; nothing stays open then."""
    sys.setswitchinterval(SWITCH_S)
    settings = loaded.settings
    clock = clock or SystemClock()
    state = Path(settings.agent.state)
    async with AsyncExitStack() as stack:
        store = await Store.open(loaded.store_url(), clock=clock)
        stack.push_async_callback(store.close)
        await _refuse_stranded(store, loaded)
        restored = await store.read(unsettled)
        hosts = Hosts(settings.hosts, clock)
        stack.push_async_callback(hosts.close)
        offered = {"runtime": build(state / "runtime"), "clock": clock, "hosts": hosts}
        storages = open_storages(loaded, offered)
        for storage in storages.values():
            stack.push_async_callback(storage.close)
        batches = open_batches(loaded, offered)
        for batch in batches.values():
            stack.push_async_callback(batch.close)
        managers = {}
        for manager in settings.prodmgr:
            managers[manager.name] = HttpProdMgr(
                manager.url, token(manager, os.environ), agent=settings.agent.name, deadline_s=manager.call_deadline_s
            )
            stack.push_async_callback(managers[manager.name].close)
        yield World(
            settings=settings,
            store=store,
            clock=clock,
            sandboxes=Sandboxes(state / "sandboxes"),
            batches=batches,
            storages=storages,
            stage_out=stage_out_rules(loaded),
            managers=managers,
            hosts=hosts,
            backups=_backups(loaded),
            restored=restored,
        )


def _backups(loaded: Loaded) -> Backups | None:
    settings = loaded.settings
    sandboxes = Path(settings.agent.state) / "sandboxes"
    return Backups(loaded.store_url(), Path(settings.backup.directory), sandboxes) if settings.backup.enabled else None


async def _refuse_stranded(store: Store, loaded: Loaded) -> None:
    """Raise ConfigError if the store has attempts at a target that is not configured: nobody would ask after them."""
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

"""Open what an agent stands on, and close it again in reverse."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from actors.world import World
from backends.opening import open_batches, open_storages, stage_out_rules
from backends.prodmgr.http import HttpProdMgr
from config.loader import Loaded
from config.secret import token
from runtime.build import build
from storage.sandboxes import Sandboxes
from storage.store import Store
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
        offered = {"runtime": build(state / "runtime"), "clock": clock}
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
            storages=open_storages(loaded, offered),
            stage_out=stage_out_rules(loaded),
            managers=managers,
        )

"""Open what an agent stands on, and close it again in reverse."""

import inspect
import os
import typing
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from actors.world import World
from backends.prodmgr.http import HttpProdMgr
from backends.registry import load as load_kind
from config.loader import Loaded
from config.secret import token
from config.settings import Plugin, Target
from runtime.build import build
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import Clock, SystemClock


def settings_of(family: str, kind: str) -> type[msgspec.Struct] | None:
    """Return the settings struct of a kind of backend: what its constructor's `settings` is annotated with.

    Raises LookupError, with what was expected, for a kind that nobody provides.
    """
    if family == "actor":
        return None
    try:
        made = load_kind(kind, family)
    except ValueError as error:
        raise LookupError(str(error)) from None
    hint = typing.get_type_hints(made.__init__).get("settings")  # type: ignore[misc]
    return hint if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else None


@asynccontextmanager
async def open_world(loaded: Loaded, *, clock: Clock | None = None) -> AsyncIterator[World]:
    """Yield everything that the actors share. Raises ConfigError, StoreError and its kinds; nothing stays open then."""
    settings = loaded.settings
    clock = clock or SystemClock()
    state = Path(settings.agent.state)
    async with AsyncExitStack() as stack:
        store = await Store.open(loaded.store_url(), clock=clock)
        stack.push_async_callback(store.close)
        offered = {"runtime": build(state / "runtime"), "clock": clock}
        batches, storages, stage_out = {}, {}, {}
        for name, site in settings.sites.items():
            at = f"sites.{name}"
            options = _options(loaded, site.storage, "storage_element", f"{at}.storage")
            storages[name] = _make(site.storage.kind, "storage_element", options, offered)
            stage_out[name] = [{"kind": site.storage.kind, **msgspec.to_builtins(options)}]
            for target_name, target in site.targets.items():
                options = _options(loaded, target, "batch", f"{at}.targets.{target_name}")
                batches[target_name] = _make(target.kind, "batch", options, offered)
                stack.push_async_callback(batches[target_name].close)
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
            stage_out=stage_out,
            managers=managers,
        )


def _options(loaded: Loaded, owner: Plugin | Target, family: str, at: str) -> Any:
    kind = settings_of(family, owner.kind)
    return owner.options if kind is None else loaded.plugin(owner, kind, at)


def _make(kind: str, family: str, options: Any, offered: dict[str, object]) -> Any:
    """Construct a backend: its settings, and of what is offered whatever its constructor names."""
    made: Callable[..., Any] = load_kind(kind, family)
    wanted = inspect.signature(made).parameters
    return made(options, **{name: value for name, value in offered.items() if name in wanted})

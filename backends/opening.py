"""Make the backends that a configuration names."""

import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from backends.batch.base import BatchSystem
from backends.registry import load as load_kind
from backends.storage_element.base import StorageElement
from config.loader import Loaded
from config.site_settings import Plugin, Target


def settings_of(family: str, kind: str) -> type[msgspec.Struct] | None:
    """Return the settings struct of a kind of backend: what its constructor's `settings` is annotated with.

    Raises LookupError, with what was expected, for a kind that nobody provides.
    """
    if family == "actor":
        return None
    try:
        made: Any = load_kind(kind, family)
    except ValueError as error:
        raise LookupError(str(error)) from None
    hint = typing.get_type_hints(made.__init__).get("settings")
    return hint if isinstance(hint, type) and issubclass(hint, msgspec.Struct) else None


def open_storages(loaded: Loaded, offered: Mapping[str, object]) -> dict[str, StorageElement]:
    """Return the storage element of every site, by site. Raises ConfigError."""
    return {name: open_storage(loaded, name, offered) for name in loaded.settings.sites}


def open_storage(loaded: Loaded, site: str, offered: Mapping[str, object]) -> StorageElement:
    """Return the storage element of a site. Raises ConfigError."""
    owner = loaded.settings.sites[site].storage
    storage: StorageElement = _make(loaded, owner, "storage_element", f"sites.{site}.storage", offered)
    return storage


def open_batches(loaded: Loaded, offered: Mapping[str, object]) -> dict[str, BatchSystem]:
    """Return the batch system of every target, by target. Raises ConfigError."""
    return {
        name: open_batch(loaded, at, name, offered)
        for at, site in loaded.settings.sites.items()
        for name in site.targets
    }


def open_batch(loaded: Loaded, site: str, target: str, offered: Mapping[str, object]) -> BatchSystem:
    """Return the batch system of a target. Raises ConfigError."""
    owner = loaded.settings.sites[site].targets[target]
    batch: BatchSystem = _make(loaded, owner, "batch", f"sites.{site}.targets.{target}", offered)
    return batch


def stage_out_rules(loaded: Loaded) -> dict[str, list[dict[str, Any]]]:
    """Return what the worker runtime is told about each site's storage: its kind and its checked keys.

    A kind of storage that looks different from a worker node has a method `on_nodes` in its settings that says how.
    """
    return {
        name: [_on_nodes(loaded, site.storage, f"sites.{name}.storage")] for name, site in loaded.settings.sites.items()
    }


def _on_nodes(loaded: Loaded, storage: Plugin, at: str) -> dict[str, Any]:
    settings = _checked(loaded, storage, "storage_element", at)
    on_nodes = getattr(settings, "on_nodes", None)
    rule = (
        {"kind": storage.kind, **msgspec.to_builtins(settings)} if on_nodes is None else on_nodes(loaded.settings.hosts)
    )
    return dict(rule)


def _checked(loaded: Loaded, owner: Plugin | Target, family: str, at: str) -> Any:
    kind = settings_of(family, owner.kind)
    return owner.options if kind is None else loaded.plugin(owner, kind, at)


def _make(loaded: Loaded, owner: Plugin | Target, family: str, at: str, offered: Mapping[str, object]) -> Any:
    """Construct a backend: its settings, and of what is offered whatever its constructor names.

    One that works through another of its family is offered `inner`, which constructs that from a table such as its own.
    """
    made: Callable[..., Any] = load_kind(owner.kind, family)
    wanted = inspect.signature(made).parameters

    def inner(table: Mapping[str, Any]) -> Any:
        keys = {name: value for name, value in table.items() if name != "kind"}
        return _make(loaded, Plugin(kind=str(table.get("kind")), options=keys), family, f"{at}.over", offered)

    given = {**offered, "inner": inner}
    return made(_checked(loaded, owner, family, at), **{name: value for name, value in given.items() if name in wanted})

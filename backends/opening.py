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
from config.settings import Plugin, Target


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
    sites = loaded.settings.sites.items()
    return {
        name: _make(loaded, site.storage, "storage_element", f"sites.{name}.storage", offered) for name, site in sites
    }


def open_batches(loaded: Loaded, offered: Mapping[str, object]) -> dict[str, BatchSystem]:
    """Return the batch system of every target, by target. Raises ConfigError."""
    return {
        name: _make(loaded, target, "batch", f"sites.{site_name}.targets.{name}", offered)
        for site_name, site in loaded.settings.sites.items()
        for name, target in site.targets.items()
    }


def stage_out_rules(loaded: Loaded) -> dict[str, list[dict[str, Any]]]:
    """Return what the worker runtime is told about each site's storage: its kind and its checked keys."""
    return {
        name: [
            {
                "kind": site.storage.kind,
                **msgspec.to_builtins(_checked(loaded, site.storage, "storage_element", f"sites.{name}.storage")),
            }
        ]
        for name, site in loaded.settings.sites.items()
    }


def _checked(loaded: Loaded, owner: Plugin | Target, family: str, at: str) -> Any:
    kind = settings_of(family, owner.kind)
    return owner.options if kind is None else loaded.plugin(owner, kind, at)


def _make(loaded: Loaded, owner: Plugin | Target, family: str, at: str, offered: Mapping[str, object]) -> Any:
    """Construct a backend: its settings, and of what is offered whatever its constructor names."""
    made: Callable[..., Any] = load_kind(owner.kind, family)
    wanted = inspect.signature(made).parameters
    return made(
        _checked(loaded, owner, family, at), **{name: value for name, value in offered.items() if name in wanted}
    )

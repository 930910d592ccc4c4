"""Judge the keys that stand in a configuration for a plug-in: a batch system, a storage element, an actor of one's own.

Which keys it has is known to whoever knows the plug-ins: `schemas(family, kind)` answers the settings struct of one,
None for one that takes any keys, or raises LookupError for a kind that does not exist. The families are `batch`,
`storage_element` and `actor`.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from config.faults import Fault, convert_collecting, join
from config.rules import tables
from config.settings import ExtraActor
from config.site_settings import Plugin, Target

Schemas = Callable[[str, str], type[msgspec.Struct] | None]


def plugin_faults(data: Mapping[str, Any], where: str, base: Path, schemas: Schemas) -> Iterator[Fault]:
    """What is wrong with the keys of the plug-ins in a whole configuration."""
    for at, family, table, owner in _plugins(data):
        field = "type" if owner is ExtraActor else "kind"
        kind = table.get(field)
        if not isinstance(kind, str):
            continue
        try:
            schema = schemas(family, kind)
        except LookupError as error:
            expected = str(error.args[0]) if error.args else f"a {family} plug-in"
            yield Fault(where=where, key=join(at, field), got=repr(kind), expected=expected)
            continue
        if schema is not None:
            yield from convert_options(_free(table, owner), schema, owner, where, at, base)[1]


def convert_options(
    free: Mapping[str, Any], kind: type[msgspec.Struct], owner: type[msgspec.Struct], where: str, at: str, base: Path
) -> tuple[Any, list[Fault]]:
    """Convert free keys to `kind`; the keys of the table `owner` that they stand in are offered for a mistyped one."""
    if owner is ExtraActor:
        return convert_collecting(free, kind, where, at=join(at, "settings"), base=base)
    neighbours = [name for name in owner.__struct_fields__ if name != "options"]
    return convert_collecting(free, kind, where, at=at, base=base, neighbours=neighbours)


def _plugins(data: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any], type[msgspec.Struct]]]:
    for name, site in tables(data.get("sites")):
        at = join("sites", name)
        storage = site.get("storage")
        if isinstance(storage, Mapping):
            yield join(at, "storage"), "storage_element", storage, Plugin
        for target_name, target in tables(site.get("targets")):
            yield join(join(at, "targets"), target_name), "batch", target, Target
    for name, actor in tables(data.get("actors")):
        yield join("actors", name), "actor", actor, ExtraActor


def _free(table: Mapping[str, Any], owner: type[msgspec.Struct]) -> Mapping[str, Any]:
    if owner is ExtraActor:
        held = table.get("settings", {})
        return held if isinstance(held, Mapping) else {}
    return {key: value for key, value in table.items() if key not in owner.__struct_fields__ or key == "options"}

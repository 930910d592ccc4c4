"""What a changed configuration means for an agent that runs: what acts at once, and what waits for a restart (OPS-03)."""

from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

import msgspec

from config.faults import bare, marked
from config.settings import ProdMgrSettings, Settings

T = TypeVar("T", bound=msgspec.Struct)


def live(before: Settings, after: Settings) -> Settings:
    """Return `after`, with all that can change only with a restart as in `before`.

    Sites and targets come and go live, hosts and ProdMgrs only come, since work of those that are gone may be under way; actors of
    one's own stay as they are. A backend keeps its kind, and with it its keys.
    """
    merged = _table(before, after)
    gone = {name: host for name, host in before.hosts.items() if name not in merged.hosts}
    return msgspec.structs.replace(
        merged, hosts={**merged.hosts, **gone}, prodmgr=_managers(before.prodmgr, after.prodmgr)
    )


def _managers(before: list[ProdMgrSettings], after: list[ProdMgrSettings]) -> list[ProdMgrSettings]:
    named, known = {manager.name: manager for manager in after}, {manager.name for manager in before}
    kept = [_table(old, named[old.name]) if old.name in named else old for old in before]
    return [*kept, *(manager for manager in after if manager.name not in known)]


def _table(before: T, after: T) -> T:
    hints = get_type_hints(type(after), include_extras=True)
    kept = {name: _value(getattr(before, name), getattr(after, name), hints[name]) for name in after.__struct_fields__}
    if hasattr(after, "kind") and getattr(before, "kind", None) != after.kind:
        kept["options"] = getattr(before, "options", {})
    return msgspec.structs.replace(after, **kept)


def _value(before: Any, after: Any, hint: Any) -> Any:
    _, metas = bare(hint)
    if marked(metas, "restart"):
        return before
    if isinstance(after, msgspec.Struct) and type(after) is type(before):
        return _table(before, after)
    if isinstance(after, Mapping) and isinstance(before, Mapping):
        return {name: _item(before.get(name), item) for name, item in after.items()}
    return after


def _item(before: Any, after: Any) -> Any:
    return _table(before, after) if isinstance(after, msgspec.Struct) and type(after) is type(before) else after

"""What may be changed of a workflow while it runs, and what that means for jobs that have not begun (PA-216)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.spec import Name, NotNegative, Positive, Resources, WorkflowSpec
from domain.types import looked_at


class Revision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New values of a specification; what is UNSET stays. `max_sites` 0: any number; `group` "": none.

    Memory and disk in MB (10**6 bytes), wall time in seconds.
    """

    sites: list[Name] | UnsetType = UNSET
    releases: list[Name] | UnsetType = UNSET
    max_sites: NotNegative | UnsetType = UNSET
    group: Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.\-]{0,99})?$")] | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=9999)] | UnsetType = UNSET
    cores: Positive | UnsetType = UNSET
    memory_mb: Positive | UnsetType = UNSET
    disk_mb: Positive | UnsetType = UNSET
    wall_s: Positive | UnsetType = UNSET


looked_at(Revision)

_NONE = {"max_sites": 0, "group": ""}
"""What is said for a key that is not to be set any more."""


def revised(spec: WorkflowSpec, revision: Revision) -> WorkflowSpec:
    """Return the next version of a specification."""
    given = {name: value for name in Revision.__struct_fields__ if (value := getattr(revision, name)) is not UNSET}
    needs = {name: given.pop(name) for name in Resources.__struct_fields__ if name in given}
    given |= {name: None for name, nothing in _NONE.items() if name in given and given[name] == nothing}
    return msgspec.structs.replace(spec, **given, resources=msgspec.structs.replace(spec.resources, **needs))


def differences(before: WorkflowSpec, after: WorkflowSpec) -> list[str]:
    """Return what differs of all that may be changed, one "key: before -> after" each."""
    found = []
    for name in Revision.__struct_fields__:
        old, new = (
            getattr(spec.resources if hasattr(spec.resources, name) else spec, name) for spec in (before, after)
        )
        if old != new:
            found.append(f"{name}: {_shown(old)} -> {_shown(new)}")
    return found


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "any"
    return "any" if value is None else str(value)


def asks_anew(before: WorkflowSpec, after: WorkflowSpec) -> bool:
    """Whether what waits in a batch queue asked for something else than its workflow asks for now."""
    return before.resources != after.resources

"""What may be changed of a workflow while it runs, and what that means for jobs that have not begun (PA-216)."""

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from domain.spec import Name, NotNegative, Positive, Resources, WorkflowSpec
from domain.types import looked_at

NameOrNone = Annotated[str, Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.\-]{0,99})?$")]


class Revision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """New values of a specification; what is UNSET stays. `max_sites` 0: any number; `group` "": none; `architecture` "": any.
    `merge_sites` and `merge_deny_sites` are the lists of its merges.

    Memory and disk in MB (10**6 bytes), wall time in seconds.
    """

    sites: list[Name] | UnsetType = UNSET
    deny_sites: list[Name] | UnsetType = UNSET
    merge_sites: list[Name] | UnsetType = UNSET
    merge_deny_sites: list[Name] | UnsetType = UNSET
    releases: list[Name] | UnsetType = UNSET
    max_sites: NotNegative | UnsetType = UNSET
    group: NameOrNone | UnsetType = UNSET
    priority: Annotated[int, Meta(ge=0, le=9999)] | UnsetType = UNSET
    cores: Positive | UnsetType = UNSET
    memory_mb: Positive | UnsetType = UNSET
    disk_mb: Positive | UnsetType = UNSET
    wall_s: Positive | UnsetType = UNSET
    gpus: NotNegative | UnsetType = UNSET
    architecture: NameOrNone | UnsetType = UNSET


looked_at(Revision)

_NONE = {"max_sites": 0, "group": "", "architecture": ""}
"""What is said for a key that is not to be set any more."""
_OF_MERGES = "merge_"


def revised(spec: WorkflowSpec, revision: Revision) -> WorkflowSpec:
    """Return the next version of a specification."""
    given = {name: value for name in Revision.__struct_fields__ if (value := getattr(revision, name)) is not UNSET}
    given |= {name: None for name, nothing in _NONE.items() if name in given and given[name] == nothing}
    needs = {name: given.pop(name) for name in Resources.__struct_fields__ if name in given}
    lists = {name: given.pop(name) for name in list(given) if name.startswith(_OF_MERGES)}
    return msgspec.structs.replace(
        spec,
        **given,
        resources=msgspec.structs.replace(spec.resources, **needs),
        merge=msgspec.structs.replace(
            spec.merge, **{name.removeprefix(_OF_MERGES): value for name, value in lists.items()}
        ),
    )


def differences(before: WorkflowSpec, after: WorkflowSpec) -> list[str]:
    """Return what differs of all that may be changed, one "key: before -> after" each."""
    found = []
    for name in Revision.__struct_fields__:
        old, new = (_value(spec, name) for spec in (before, after))
        if old != new:
            nothing = "none" if name.endswith("deny_sites") else "any"
            found.append(f"{name}: {_shown(old, nothing)} -> {_shown(new, nothing)}")
    return found


def _value(spec: WorkflowSpec, name: str) -> object:
    if name.startswith(_OF_MERGES):
        return getattr(spec.merge, name.removeprefix(_OF_MERGES))
    return getattr(spec.resources if hasattr(spec.resources, name) else spec, name)


def _shown(value: object, nothing: str) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or nothing
    return nothing if value is None else str(value)


def asks_anew(before: WorkflowSpec, after: WorkflowSpec) -> bool:
    """Whether what waits in a batch queue asked for something else than its workflow asks for now."""
    return before.resources != after.resources

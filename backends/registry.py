"""Finds the class behind the name of a kind of backend; the built-in ones use the same door as anybody's."""

import difflib
import importlib
import importlib.metadata

BUILT_IN: dict[str, dict[str, str]] = {
    "batch": {
        "local": "backends.batch.local:LocalBatch",
        "pilot": "backends.batch.pilot:PilotBatch",
        "htcondor": "backends.batch.htcondor:CondorBatch",
        "slurm": "backends.batch.slurm:SlurmBatch",
        "simulated": "backends.batch.simulated:SimulatedBatch",
    },
    "storage_element": {
        "posix": "backends.storage_element.posix:PosixStorage",
        "memory": "backends.storage_element.memory:MemoryStorage",
        "sftp": "backends.storage_element.sftp:SftpStorage",
        "xrootd": "backends.storage_element.xrootd:XrootdStorage",
        "http": "backends.storage_element.webdav:WebdavStorage",
    },
    "catalogue": {},
}
"""By family and kind, "module:Class": what the entry points say, for a checkout that is not installed."""


def load(kind: str, family: str) -> type:
    """Return the class of `kind`: a name of the entry point group prodagent.<family>, or "module:Class".

    Raise ValueError for a kind that nobody provides, with the nearest that somebody does.
    """
    if ":" in kind:
        return _import(kind)
    if family not in BUILT_IN:
        raise ValueError(f"family is {family!r}, expected one of {', '.join(sorted(BUILT_IN))}")
    if kind in BUILT_IN[family]:
        return _import(BUILT_IN[family][kind])
    others = {point.name: point for point in importlib.metadata.entry_points(group=f"prodagent.{family}")}
    if kind in others:
        return _checked(others[kind].load(), others[kind].value)
    raise ValueError(_unknown(kind, family, sorted(BUILT_IN[family].keys() | others.keys())))


def _import(place: str) -> type:
    module, _, name = place.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as fault:
        raise ValueError(f"{place} cannot be loaded: {fault}") from fault
    return _checked(found, place)


def _checked(found: object, place: str) -> type:
    if not isinstance(found, type):
        raise ValueError(f"{place} is a {type(found).__name__}, expected a class")  # noqa: TRY004 -- a fault of the configuration
    return found


def _unknown(kind: str, family: str, known: list[str]) -> str:
    near = difflib.get_close_matches(kind, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known) or 'none'}, or module:Class"
    return f"there is no {family} of kind {kind!r}; {hint}"

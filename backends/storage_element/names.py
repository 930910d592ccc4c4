"""What names a storage element takes and makes: LFNs, and temporary names that carry their fence (TX-07)."""

import posixpath

from backends.storage_element.base import StorageError


def checked(lfn: str) -> str:
    """Return an LFN. Raise StorageError("permission") for a name that would leave the element's root."""
    parts = lfn.split("/")
    if parts[0] or len(parts) < 2 or any(part in ("", ".", "..") or "\0" in part for part in parts[1:]):
        raise StorageError(f"{lfn!r} is no LFN: expected /name/name without . and ..", kind="permission")
    return lfn


def folder(prefix: str) -> str:
    """Return what `list` is asked for without the slash at its end; "" is everything."""
    trimmed = prefix.rstrip("/")
    return checked(trimmed) if trimmed else ""


def temporary(lfn: str, fence: str) -> str:
    """Return the name beside an LFN under which the try with this fence writes."""
    if not fence or "/" in fence or "\0" in fence:
        raise StorageError(f"fence {fence!r}: expected a name without /", kind="permission")
    place, name = posixpath.split(checked(lfn))
    return posixpath.join(place, f".{name}.{fence}.part")


def is_temporary(name: str) -> bool:
    """Whether the last part of a name is a temporary one, of whatever fence."""
    return name.startswith(".") and name.endswith(".part")


def beside(name: str, lfn: str) -> bool:
    """Whether a physical or logical name is a temporary one in the directory of `lfn`, and for it."""
    place, own = posixpath.split(lfn)
    return posixpath.dirname(name) == place and posixpath.basename(name).startswith(f".{own}.")

"""Reads what a storage says of the bytes that still fit: a file system, an XRootD server, a WebDAV server."""

import os
import posixpath
from collections.abc import Iterator
from urllib.parse import parse_qs
from xml.etree import ElementTree

QUOTA = b"""<?xml version="1.0"?>
<propfind xmlns="DAV:"><prop><quota-available-bytes/></prop></propfind>"""
"""What a WebDAV server is asked (RFC 4331); most answer, nginx does not know it."""


def upwards(path: str) -> Iterator[str]:
    """Yield a path and the directories above it: one that is not there yet will be made where its parent lies."""
    while True:
        yield path
        above = posixpath.dirname(path)
        if above == path:
            return
        path = above


def of_disk(path: str) -> int:
    """Return what an ordinary user may still write to the file system of a path, in bytes. Raise OSError."""
    place = next(each for each in upwards(path) if os.path.lexists(each))
    found = os.statvfs(place)
    return found.f_bavail * found.f_frsize


def of_xrootd(said: str) -> int | None:
    """Read the answer to `query space` (kXR_Qspace): bytes, or -1 for a quota that is none.

    Return None also for a space of 0 bytes, which is what a server says of a directory that is not there (5.5).
    """
    told = {name: int(values[0]) for name, values in parse_qs(said.strip()).items() if values[0].lstrip("-").isdigit()}
    free = told.get("oss.free")
    if free is None or told.get("oss.space") == 0:
        return None
    quota = told.get("oss.quota", -1)
    return free if quota < 0 else max(0, min(free, quota - told.get("oss.used", 0)))


def of_webdav(page: bytes) -> int | None:
    """Read the answer to QUOTA; None for any that does not name a number, or is not to be trusted as XML."""
    if b"<!DOCTYPE" in page or b"<!ENTITY" in page:
        return None
    try:
        found = ElementTree.fromstring(page).findtext(".//{DAV:}quota-available-bytes")  # noqa: S314 -- no entities
    except ElementTree.ParseError:
        return None
    return int(found) if found and found.strip().isdigit() else None

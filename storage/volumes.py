"""Volumes: files of the agent's own that hold the archives of attempts, many in each.

A volume is JSON lines compressed by gzip, so that `zcat` reads it: what the attempts have in common, then one line for each.
One file for all that are booked together costs a hundredth of one for each.
"""

import gzip
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import msgspec

from domain.archive import Archived, Kind, Models

SUFFIX = ".jsonl.gz"
LEVEL = 1
"""Of compression: the lines are much alike; 6 takes three times as long for a tenth less."""


class VolumeGone(LookupError):
    """A volume is not there any more, or cannot be read; the text names it."""


class Volumes:
    """In one directory, in levels by the first two digits of the name."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._ours: set[str] | None = set()
        """Names given out by this process, until what others left is swept away."""
        self._lock = Lock()

    def path(self, name: str) -> Path:
        return self.directory / name[:2] / f"{name}{SUFFIX}"

    def name(self, kind: Kind, token: str) -> str:
        """Return what a volume is called whose first attempt has this token."""
        name = f"{token[:40]}-{kind}"
        with self._lock:
            if self._ours is not None:
                self._ours.add(name)
        return name

    def put(self, name: str, models: Models, archived: Sequence[Archived]) -> int:
        """Write a volume, in place of one that a process left which died before it was booked; return its bytes.

        It is whole or not there, also after a loss of power. Raises OSError.
        """
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}")
        encoder = msgspec.json.Encoder()
        lines = encoder.encode(models) + b"\n" + encoder.encode_lines(archived)
        with open(draft, "wb", opener=_private) as sink:
            with gzip.GzipFile("", "wb", LEVEL, sink, mtime=0) as packed:
                packed.write(lines)
            sink.flush()
            os.fsync(sink.fileno())
        draft.replace(path)
        return path.stat().st_size

    def read(self, name: str) -> tuple[Models, list[Archived]]:
        """Return what is in a volume. Raises VolumeGone."""
        path = self.path(name)
        try:
            with gzip.open(path, "rb") as source:
                models = msgspec.json.decode(source.readline(), type=Models)
                return models, [msgspec.json.decode(line, type=Archived) for line in source]
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
            raise VolumeGone(f"{path}: {error}") from None

    def remove(self, names: Sequence[str]) -> None:
        """Remove volumes; one that is gone already counts as removed. Raises OSError."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def strays(self) -> list[str]:
        """Return the names of all volumes that processes before this one left; none once `sweep` was called."""
        if self._ours is None:
            return []
        found = {path.name.removeprefix(".").removesuffix(SUFFIX) for path in self.directory.glob("??/*")}
        return sorted(found - self._ours)

    def sweep(self, names: Sequence[str]) -> None:
        """Remove strays and drafts of these names, but none that was written again meanwhile. Raises OSError."""
        for name in names:
            with self._lock:
                if self._ours is None or name not in self._ours:
                    path = self.path(name)
                    path.unlink(missing_ok=True)
                    path.with_name(f".{path.name}").unlink(missing_ok=True)
        self._ours = None


def _private(path: str, flags: int) -> int:
    """Open for this user alone: a specification holds the environment of jobs."""
    return os.open(path, flags, 0o600)

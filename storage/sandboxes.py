"""Sandboxes: the files of workflows, one archive each, named by its content (PA-120)."""

import hashlib
import os
from pathlib import Path


class Sandboxes:
    """Archives (tar.gz) in one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def path(self, sha256: str) -> Path:
        return self.directory / f"{sha256}.tar.gz"

    def put(self, archive: bytes) -> str:
        """Keep an archive and return its sha256; "" for none."""
        if not archive:
            return ""
        digest = hashlib.sha256(archive).hexdigest()
        path = self.path(digest)
        if not path.exists():
            temporary = path.with_name(f".{digest}.{os.getpid()}")
            with temporary.open("wb") as handle:
                handle.write(archive)
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        return digest

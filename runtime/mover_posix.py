"""Moves files to a directory that the node has mounted."""

import os
from contextlib import suppress

from runtime.checksum import BLOCK, Digest, digest_of
from runtime.mover import Mover


class Posix(Mover):
    """`sync` (True): flush to the medium, and read back from it, before a file is published."""

    @property
    def sync(self) -> bool:
        return bool(self.rule.get("sync", True))

    def put(self, source: str, target: str) -> Digest:
        digest = Digest()
        with open(source, "rb", buffering=0) as reader:
            sink = _create(target)
            try:
                block = reader.read(BLOCK)
                while block:
                    digest.update(block)
                    view = memoryview(block)
                    while view:
                        view = view[os.write(sink, view) :]
                    block = reader.read(BLOCK)
                if self.sync:
                    os.fsync(sink)
            finally:
                os.close(sink)
        return digest

    def read_back(self, target: str) -> Digest:
        return digest_of(target, uncached=self.sync)

    def identity(self, target: str) -> str:
        return str(os.stat(target).st_ino)

    def exists(self, target: str) -> bool:
        return os.path.lexists(target)

    def publish(self, temporary: str, target: str) -> None:
        os.link(temporary, target)
        if self.sync:
            _sync(os.path.dirname(target))

    def remove(self, target: str) -> None:
        with suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(target)

    def fetch(self, source: str, target: str) -> None:
        import shutil  # noqa: PLC0415 -- slow to load

        shutil.copyfile(source, target)


def _create(target: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        return os.open(target, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        return os.open(target, flags, 0o644)


def _sync(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

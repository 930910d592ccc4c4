"""One store has one live holder: a file lock keeps others out, a fence stops a holder that was robbed."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from storage import schema
from storage.errors import StoreInUse, StoreLost


class FileLock:
    """Held while this process lives; the kernel lets go of it at any death."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(database.name + ".lock")
        self._file: IO[str] | None = None

    def acquire(self) -> None:
        """Raise StoreInUse, naming the holder, if another process has it."""
        handle = self.path.open("a+")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "another process"
            handle.close()
            name = self.path.name.removesuffix(".lock")
            raise StoreInUse(
                f"the store {name} is in use by {holder}; stop it first, or give this one a store of its own"
            ) from None
        handle.truncate(0)
        handle.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        handle.flush()
        self._file = handle

    def release(self) -> None:
        """Safe to repeat."""
        if self._file is not None:
            self._file.close()
            self._file = None


def take(connection: sa.Connection, now: float) -> int:
    """Raise the fence and return it."""
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    row = connection.execute(sa.select(schema.lease.c.fence)).scalar_one_or_none()
    if row is None:
        connection.execute(schema.lease.insert().values(id=1, fence=1, holder=holder, taken_at=now))
        return 1
    connection.execute(schema.lease.update().values(fence=row + 1, holder=holder, taken_at=now))
    return int(row) + 1


def check(connection: sa.Connection, fence: int) -> None:
    """Raise StoreLost if somebody has raised the fence since."""
    present = connection.execute(sa.select(schema.lease.c.fence)).scalar_one_or_none()
    if present != fence:
        raise StoreLost(f"the store's fence is {present}, ours was {fence}: another process has taken it over")

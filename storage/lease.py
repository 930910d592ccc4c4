"""One store has one live holder: a lock keeps others out, a fence stops a holder that was robbed."""

import fcntl
import os
import socket
from pathlib import Path
from typing import IO

import sqlalchemy as sa

from storage.errors import StoreInUse, StoreLost


def holder() -> str:
    """Return who we are, for those whom we keep out."""
    return f"process {os.getpid()} on {socket.gethostname()}"


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
            other = handle.read().strip() or "another process"
            handle.close()
            raise in_use(self.path.name.removesuffix(".lock"), other) from None
        handle.truncate(0)
        handle.write(f"{holder()}\n")
        handle.flush()
        self._file = handle

    def release(self) -> None:
        """Safe to repeat."""
        if self._file is not None:
            self._file.close()
            self._file = None


def in_use(store: str, other: str) -> StoreInUse:
    """Say that somebody else has the store."""
    return StoreInUse(f"the store {store} is in use by {other}; stop it first, or give this one a store of its own")


class Hold:
    """Our hold on a store: the fence that we raised, and the number of our last commit.

    Each commit writes its number beside the fence in the same transaction. So a holder that was robbed fails, and
    after a connection was lost during a commit the row says whether that commit holds.
    """

    def __init__(self, table: sa.Table) -> None:
        self.fence = 0
        self.number = 0
        self._table = table
        self._read = sa.select(table.c.fence, table.c.commits).with_for_update()
        self._mark = (
            table.update()
            .where(table.c.fence == sa.bindparam("ours"))
            .values(commits=sa.bindparam("next_number", type_=table.c.commits.type))
        )

    def take(self, connection: sa.Connection, now: float) -> None:
        """Raise the fence; the caller commits."""
        values = {"holder": holder(), "taken_at": now, "commits": 0}
        row = connection.execute(self._read).one_or_none()
        self.fence, self.number = (int(row.fence) if row else 0) + 1, 0
        if row is None:
            connection.execute(self._table.insert().values(id=1, fence=self.fence, **values))
        else:
            connection.execute(self._table.update().values(fence=self.fence, **values))

    def mark(self, connection: sa.Connection) -> None:
        """Number the commit that is being prepared; raise StoreLost if somebody has raised the fence since."""
        if connection.execute(self._mark, {"ours": self.fence, "next_number": self.number + 1}).rowcount != 1:
            self._lost(connection)

    def refresh(self, connection: sa.Connection) -> None:
        """Learn the number of the last commit that holds, waiting for one still under way; raise StoreLost as `mark`."""
        row = connection.execute(self._read).one_or_none()
        if row is None or row.fence != self.fence:
            self._lost(connection)
        else:
            self.number = int(row.commits)

    def _lost(self, connection: sa.Connection) -> None:
        row = connection.execute(sa.select(self._table.c.fence, self._table.c.holder)).one_or_none()
        found = f"{row.fence} of {row.holder}" if row else "gone"
        raise StoreLost(f"the store's fence is {found}, ours was {self.fence}: another process has taken it over")

"""MariaDB or MySQL over aiomysql, held by one agent at a time."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy.util import await_only

from storage.engines import mariadb_errors as errors
from storage.engines.address import shown
from storage.engines.connection import Statements
from storage.engines.loop_thread import LoopThread
from storage.engines.mariadb_session import check_server, connect, engine, leave_unread, limited
from storage.errors import StoreAway, StoreError, named
from storage.lease import Hold, in_use
from storage.migrate import is_current, upgrade
from storage.schema import Schema
from storage.writer import AGAIN, PAUSE_S, Pending, Settled, Trouble, Writer

T = TypeVar("T")

LOCK_WAIT_S = 3
"""How long an agent waits for the lock of one that was just killed, in seconds; the server sees its end at once."""
COMMIT_S = 60.0
READ_S = 300.0
"""How long a transaction, or a question, may take before its connection is ended, in seconds."""


class MariaDb:
    """One connection writes and holds the server's lock of this name; others read.

    The lock keeps a second agent out as long as this one is connected; the fence in each commit stops one that was
    paused or cut off, and robbed meanwhile.
    """

    def __init__(self, address: sa.URL, schema: Schema) -> None:
        self._address = address
        self._place = shown(address)
        self._schema = schema
        self._table = schema.metadata.tables["lease"]
        self._engine = engine(address, writer=True)
        self._statements = Statements(self._engine.dialect)
        self._hold = Hold(self._table)
        self._writer = Writer(
            self._connect,
            errors.judge,
            self._hold,
            pause=lambda seconds: await_only(asyncio.sleep(seconds)),
            guard=lambda connection: limited(connection, COMMIT_S),
        )
        self._reader = MariaReader(address)
        self._thread = LoopThread("store-writer")

    async def open(self, now: float) -> None:
        await self._thread.do(self._start, now)

    async def commit(self, group: Sequence[Pending], now: float) -> Settled:
        return await self._thread.do(self._writer.commit, group, now)

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        return await self._reader.read(query)

    async def close(self) -> None:
        await self._reader.close()
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        if not self._thread.closed:
            self._thread.do_now(self._writer.close)
        self._thread.close()

    def _start(self, now: float) -> None:
        try:
            connection = self._writer.first()
            check_server(connection, self._place)
            current = is_current(connection, self._schema)
            connection.rollback()
            if not current:
                upgrade(connection, self._schema)
                connection.commit()
            self._writer.take(now)
        except StoreError as error:
            raise named(error, self._place) from error.__cause__
        except Exception as error:
            raise errors.unusable(error, self._address, self._place) from error

    def _connect(self) -> sa.Connection:
        connection = connect(self._engine, self._statements)
        with limited(connection, COMMIT_S):
            try:
                got = connection.execute(sa.select(sa.func.get_lock(self._lock_name(), LOCK_WAIT_S))).scalar_one()
                if got != 1:
                    self._refuse(connection)
                connection.rollback()
            except BaseException:
                connection.close()
                raise
        return connection

    def _refuse(self, connection: sa.Connection) -> None:
        """Somebody else is connected as the holder: raise what this means."""
        if self._hold.fence:
            self._hold.refresh(connection)  # StoreLost if we were robbed
            raise StoreAway(f"the lock of the store {self._place} is still held by a connection that is ending")
        known = sa.inspect(connection).has_table("lease")
        holder = connection.execute(sa.select(self._table.c.holder)).scalar_one_or_none() if known else None
        raise in_use(self._place, holder or "another process")

    def _lock_name(self) -> str:
        """Locks have names of at most 64 characters, and the whole server shares them."""
        return "prodagent." + hashlib.sha256(str(self._address.database).encode()).hexdigest()[:32]


class MariaReader:
    """Reads in a thread of its own, so that a long question holds up nobody."""

    def __init__(self, address: sa.URL) -> None:
        self._place = shown(address)
        self._engine = engine(address, writer=False)
        self._statements = Statements(self._engine.dialect)
        self._thread = LoopThread("store-reader")

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        if self._thread.closed:
            raise StoreError("the store is closed")
        return await self._thread.do(self._ask, query)

    def read_now(self, query: Callable[[sa.Connection], T]) -> T:
        return self._thread.do_now(self._ask, query)

    async def close(self) -> None:
        await asyncio.to_thread(self.close_now)

    def close_now(self) -> None:
        if not self._thread.closed:
            self._thread.do_now(self._engine.dispose)
        self._thread.close()

    def _ask(self, query: Callable[[sa.Connection], T]) -> T:
        """Ask, and ask again while the database fails in passing: a question changes nothing."""
        for tries in range(AGAIN + 1):
            try:
                connection = connect(self._engine, self._statements)
                with limited(connection, READ_S), connection:
                    try:
                        return query(connection)
                    finally:
                        leave_unread(connection)
            except (sa.exc.DBAPIError, sa.exc.TimeoutError, ConnectionError, TimeoutError) as error:
                if errors.judge(error) is not Trouble.PASSING or tries == AGAIN:
                    raise errors.unreadable(error, self._place) from error
            await_only(asyncio.sleep(PAUSE_S * 2**tries))
        raise AssertionError

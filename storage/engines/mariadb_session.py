"""Connections to MariaDB or MySQL, set up so that both behave as SQLite does; and what a server must be for that."""

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa
from pymysql.constants import FIELD_TYPE
from pymysql.converters import decoders
from sqlalchemy.ext.asyncio import create_async_engine

from storage.engines.connection import Connection, Statements
from storage.errors import StoreError

log = logging.getLogger("prodagent.store")

CONNECT_S = 10
"""How long a connection may take to be made, in seconds."""
PACKET = 16 * 2**20
"""Least max_allowed_packet, in bytes: a body of the log or of an outbox may have nearly as many."""
OLDEST = {True: (10, 6), False: (8, 0, 16)}
"""MariaDB with JSON_TABLE; MySQL that heeds CHECK constraints."""

SESSION = (
    "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'",
    "SET SESSION time_zone = '+00:00'",
    "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "SET SESSION innodb_lock_wait_timeout = 2",
    "SET SESSION lock_wait_timeout = 30",
    "SET SESSION group_concat_max_len = 1048576",
)
"""REPEATABLE READ gives a question one moment, and InnoDB's default is what any binlog format allows; the gap locks that it
sets while writing meet nobody, since there is one writer. A move reads its ids as one text (storage/moves.py), which MySQL would
cut off at 1,024 bytes."""
MARIADB = ("SET SESSION in_predicate_conversion_threshold = 0",)
"""Without it MariaDB makes a written list of over 1,000 ids a subquery, and an UPDATE with one reads the whole table."""
OPTIONS = {"unix_socket", "ssl_ca", "ssl_cert", "ssl_key"}


def engine(address: sa.URL, *, writer: bool) -> sa.Engine:
    """Return an engine to be used inside a loop thread; the writer keeps one connection, readers up to four and cannot write.

    Raises StoreError for an unknown option of the address.
    """
    made = create_async_engine(
        address.set(drivername="mysql+aiomysql", query={}),
        connect_args=_arguments(address),
        **({"poolclass": sa.pool.NullPool} if writer else {"pool_size": 4, "max_overflow": 0, "pool_recycle": 600}),
    ).sync_engine

    @sa.event.listens_for(made, "connect")
    def set_up(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        maria = "mariadb" in connection.driver_connection.get_server_info().lower()
        last = ("SET SESSION TRANSACTION READ ONLY",) if not writer else ()
        for statement in (*SESSION, *(MARIADB if maria else ()), *last):
            cursor.execute(statement)
        cursor.close()

    return made


def _arguments(address: sa.URL) -> dict[str, Any]:
    unknown = sorted(set(address.query) - OPTIONS)
    if unknown:
        raise StoreError(f"store: got the option {unknown[0]!r}, expected one of {', '.join(sorted(OPTIONS))}")
    options = {key: str(value) for key, value in address.query.items()}
    found: dict[str, Any] = {"charset": "utf8mb4", "connect_timeout": CONNECT_S, "conv": _decoders()}
    if "unix_socket" in options:
        found["unix_socket"] = options["unix_socket"]
    if "ssl_ca" in options:
        try:
            found["ssl"] = ssl.create_default_context(cafile=options["ssl_ca"])
            if "ssl_cert" in options:
                found["ssl"].load_cert_chain(options["ssl_cert"], options.get("ssl_key"))
        except OSError as error:
            raise StoreError(f"store: ssl_ca, ssl_cert, ssl_key: {error}; expected PEM files") from error
    elif "ssl_cert" in options or "ssl_key" in options:
        raise StoreError("store: got ssl_cert or ssl_key alone, expected ssl_ca with them")
    return found


def _decoders() -> dict[int, Any]:
    """The driver's, but sums of whole numbers are whole numbers: MySQL calls them DECIMAL."""
    plain = dict.fromkeys((FIELD_TYPE.DECIMAL, FIELD_TYPE.NEWDECIMAL), _number)
    return {**decoders, **plain}


def _number(digits: str) -> int | float:
    return float(digits) if "." in digits else int(digits)


def connect(engine: sa.Engine, statements: Statements) -> sa.Connection:
    """Return a connection that is set up; raise TimeoutError if that takes longer than CONNECT_S.

    The driver's own limit ends with the TCP connection; a server that falls silent in the handshake has none.
    """
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    late = False

    def end() -> None:
        nonlocal late
        late = True
        task.cancel()

    timer = loop.call_later(CONNECT_S, end)
    try:
        return Connection(engine, statements)
    except asyncio.CancelledError:
        if not late:
            raise
        task.uncancel()
        raise TimeoutError(f"no connection within {CONNECT_S} s") from None
    finally:
        timer.cancel()


@contextlib.contextmanager
def limited(connection: sa.Connection, limit_s: float) -> Iterator[None]:
    """End the connection when the body takes longer, as if the network had: a server that hangs must not hang us."""

    def end() -> None:
        log.error("the database has not answered for %.0f s; its connection is ended", limit_s)
        if driver is not None:
            driver.close()

    driver: Any = connection.connection.driver_connection
    timer = asyncio.get_running_loop().call_later(limit_s, end)
    try:
        yield
    finally:
        timer.cancel()


def leave_unread(connection: sa.Connection) -> None:
    """Give up a connection whose last result was streamed and not read to its end: the rest stands in its way."""
    if connection.closed or connection.invalidated:
        return
    result = getattr(connection.connection.driver_connection, "_result", None)
    if result is not None and result.unbuffered_active:
        connection.invalidate()


def check_server(connection: sa.Connection, place: str) -> None:
    """Raise StoreError if the server or what is in the database cannot keep what a store promises; warn of weak settings."""
    dialect: Any = connection.dialect
    least = OLDEST[dialect.is_mariadb]
    if dialect.server_version_info < least:
        kind = "MariaDB" if dialect.is_mariadb else "MySQL"
        got = ".".join(map(str, dialect.server_version_info))
        raise StoreError(f"store {place}: got {kind} {got}, expected {kind} {'.'.join(map(str, least))} or newer")
    supported = connection.exec_driver_sql("SELECT support FROM information_schema.engines WHERE engine = 'InnoDB'")
    if supported.scalar_one_or_none() not in ("YES", "DEFAULT"):
        raise StoreError(f"store {place}: the server has no InnoDB; expected it, only InnoDB keeps transactions")
    other = connection.exec_driver_sql(
        "SELECT table_name, engine FROM information_schema.tables"
        " WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND engine <> 'InnoDB' LIMIT 1"
    ).one_or_none()
    if other is not None:
        raise StoreError(
            f"store {place}: table {other[0]} is kept by {other[1]}; expected InnoDB: ALTER TABLE ... ENGINE=InnoDB"
        )
    packet, flush = connection.exec_driver_sql("SELECT @@max_allowed_packet, @@innodb_flush_log_at_trx_commit").one()
    if packet < PACKET:
        raise StoreError(f"store {place}: max_allowed_packet is {packet}, expected at least {PACKET} bytes")
    if flush != 1:
        log.warning(
            "store %s: innodb_flush_log_at_trx_commit is %s; expected 1, or a loss of power loses what was acknowledged",
            place,
            flush,
        )

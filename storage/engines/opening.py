"""From the address of a store to the database behind it."""

from pathlib import Path

from storage.engines.address import is_file, parse
from storage.engines.base import Database, Reader
from storage.engines.sqlite import SqliteReader, SqliteThreads
from storage.schema import Schema


def open_database(url: str, schema: Schema) -> Database:
    """Return the database of a store, not opened yet. Raises StoreError for a bad address."""
    address = parse(url)
    if is_file(address):
        return SqliteThreads(Path(str(address.database)), schema)
    from storage.engines.mariadb import MariaDb  # its drivers cost time at each start

    return MariaDb(address, schema)


def open_reader(url: str, threads: int = 4) -> Reader:
    """Return a reader of a store that others may hold. Raises StoreError for a bad address, or when no file is there.

    `threads`: how many questions an SQLite file answers at a time.
    """
    address = parse(url)
    if is_file(address):
        return SqliteReader(Path(str(address.database)), threads)
    from storage.engines.mariadb import MariaReader

    return MariaReader(address)

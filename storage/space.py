"""Give the room of deleted rows back to the file system, a little at a time."""

from typing import NamedTuple

import sqlalchemy as sa

from storage.transaction import Tx

PAGES = 500
"""Most pages (of 4 kB) in one unit: about 10 ms of the writer."""


class Space(NamedTuple):
    """Bytes that the database takes, and bytes of these that hold nothing. `shrinks`: they can be given back bit by bit."""

    size: int
    free: int
    shrinks: bool


def space(connection: sa.Connection) -> Space:
    """Return what the database takes. A MariaDB or MySQL uses free room again itself; there it is only told."""
    if connection.dialect.name == "sqlite":
        size, pages, free, mode = (
            int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
            for name in ("page_size", "page_count", "freelist_count", "auto_vacuum")
        )
        return Space(size * pages, size * free, mode == 2)
    told = connection.exec_driver_sql(
        "SELECT coalesce(sum(data_length + index_length), 0), coalesce(sum(data_free), 0) "
        "FROM information_schema.tables WHERE table_schema = database()"
    ).one()
    return Space(int(told[0]), int(told[1]), False)


def give_back(tx: Tx, keep: int, most: int = PAGES) -> int:
    """Cut free pages off an SQLite file and return how many; `keep` bytes stay free for what is written next.

    The file itself shrinks at the next checkpoint. A file that was made without incremental vacuum is left as it is.
    """
    now = space(tx.connection)
    if not now.shrinks:
        return 0
    page = int(tx.connection.exec_driver_sql("PRAGMA page_size").scalar_one())
    count = min(most, max(0, now.free - keep) // page)
    for _ in range(count):  # the driver steps a statement without columns once only, whatever number it is given
        tx.connection.exec_driver_sql("PRAGMA incremental_vacuum(1)").close()
    return count

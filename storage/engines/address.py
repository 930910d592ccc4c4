"""The address of a store."""

import sqlalchemy as sa

from storage.errors import StoreError

SQLITE = ("sqlite", "sqlite+aiosqlite")
SERVERS = ("mysql", "mysql+aiomysql", "mariadb", "mariadb+aiomysql")
EXPECTED = "sqlite:///state/agent.db or mysql://user:password@host/database"


def parse(url: str) -> sa.URL:
    """Return the address in parts; raise StoreError, without its password, for one that is none."""
    try:
        address = sa.make_url(url)
    except (sa.exc.ArgumentError, ValueError):
        raise StoreError(f"store: got an address that cannot be read, expected {EXPECTED}") from None
    if is_file(address) and address.database and address.database != ":memory:" and not address.host:
        return address
    if address.drivername in SERVERS and address.database and (address.host or "unix_socket" in address.query):
        return address
    raise StoreError(f"store: got {shown(address)!r}, expected {EXPECTED}")


def is_file(address: sa.URL) -> bool:
    """Whether the store is an SQLite file."""
    return address.drivername in SQLITE


def shown(address: sa.URL) -> str:
    """The address without its password and options."""
    return address.set(query={}).render_as_string(hide_password=True)

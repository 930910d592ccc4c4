"""What the error numbers of MariaDB and MySQL mean.

https://mariadb.com/kb/en/mariadb-error-code-reference/ and https://dev.mysql.com/doc/mysql-errors/8.0/en/
"""

import sqlalchemy as sa

from storage.errors import StoreAway, StoreCorrupt, StoreError
from storage.writer import Trouble

UNREACHABLE = {2002, 2003, 2005}
LOST = {2006, 2013, 2014, 2055, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1927, 4031}
CROWDED = {1040, 1129, 1203, 1226}
CONFLICT = {1205, 1213, 1020}
INTERRUPTED = {1317, 1969, 3024, 1047}
PASSING = UNREACHABLE | LOST | CROWDED | CONFLICT | INTERRUPTED
"""Lock wait, deadlock, and every way to lose a connection: the same transaction may succeed at once."""

READ_ONLY = {1290, 1836, 1792, 1874}
NO_ROOM = {3, 1021, 1026, 1030, 1114, 1041, 1037, 1038, 1877}
REFUSED = {1044, 1045, 1142, 1143, 1227, 1698}
AWAY = READ_ONLY | NO_ROOM | REFUSED
DAMAGED = {126, 1034, 1194, 1712, 1812, 1932}
NO_TABLE = 1146
NO_DATABASE = 1049


def number(error: BaseException) -> int:
    """The server's or driver's error number, 0 if it has none."""
    args = error.orig.args if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else ()
    return args[0] if args and isinstance(args[0], int) else 0


def judge(error: BaseException) -> Trouble:
    """Return what an error means for its transaction."""
    if isinstance(error, StoreAway | ConnectionError | TimeoutError | sa.exc.TimeoutError):
        return Trouble.PASSING
    if isinstance(error, sa.exc.DBAPIError):
        if number(error) in PASSING or error.connection_invalidated:
            return Trouble.PASSING
        if number(error) in AWAY:
            return Trouble.AWAY
    return Trouble.OWN


def unreadable(error: Exception, place: str) -> Exception:
    """Say what a failed question means."""
    if judge(error) is not Trouble.OWN or number(error) in (NO_TABLE, NO_DATABASE):
        return StoreAway(f"the store {place} cannot be read: {text(error)}")
    if number(error) in DAMAGED:
        return StoreCorrupt(f"the store {place} is damaged: {text(error)}; restore it from a backup")
    return error


def unusable(error: Exception, address: sa.URL, place: str) -> Exception:
    """Say what a failed opening means and what to do about it."""
    code, why = number(error), text(error)
    if code == NO_DATABASE:
        return StoreError(f"store {place}: {why}; make it: CREATE DATABASE {address.database} CHARACTER SET utf8mb4")
    if code in (1045, 1698):
        return StoreError(f"store {place}: {why}; expected the user and password of an account on this server")
    if code in REFUSED:
        grant = f"GRANT ALL ON {address.database}.* TO {address.username}"
        return StoreError(f"store {place}: {why}; expected all rights on the database: {grant}")
    if code in READ_ONLY:
        return StoreError(f"store {place}: {why}; expected a server that takes writes, not a replica")
    if code in NO_ROOM:
        return StoreError(f"store {place}: {why}; expected room on the server's disk")
    if code in DAMAGED:
        return StoreCorrupt(f"store {place}: {why}; restore it from a backup, or name another database")
    if judge(error) is Trouble.PASSING:
        return StoreAway(f"store {place}: {why}; expected a server that answers there")
    return StoreError(f"store {place}: {why}") if isinstance(error, sa.exc.DBAPIError) else error


def text(error: BaseException) -> str:
    """What the server said, in one line."""
    if isinstance(error, sa.exc.DBAPIError) and error.orig is not None:
        found = error.orig.args[-1] if error.orig.args else error.orig
        return " ".join(str(found).split())
    return str(error) or type(error).__name__

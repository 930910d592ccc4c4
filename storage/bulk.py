"""Many rows with one statement, by the driver's own bulk call.

SQLAlchemy prepares the parameters of each row anew; in the bench of a job's life this was the largest single cost of
writing. The statement is compiled once; the rows go to the driver as they are.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import msgspec
import sqlalchemy as sa

Row = dict[str, Any]
CHUNK = 5000
"""Most rows that go to a server in one statement: a log of 2 kB each stays below max_allowed_packet."""


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the same columns; values must be plain (no SQL expressions)."""
    if rows:
        statement, names = _insert(table, tuple(rows[0]), connection.dialect)
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


def update_live(connection: sa.Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Set `columns` of the live attempts of jobs; each row names its job as `owner`."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        statement, names = _update_live(tuple(columns), connection.dialect)
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])
        return
    for start in range(0, len(rows), CHUNK):
        given = [[row["owner"], *(row[name] for name in columns)] for row in rows[start : start + CHUNK]]
        statement = _update_live_by_join(tuple(columns), connection.dialect)
        connection.exec_driver_sql(statement, (msgspec.json.encode(given).decode(),))


def adding(
    table: sa.Table, key: Sequence[str], grown: Callable[[Any], Row], dialect: sa.Dialect
) -> tuple[str, tuple[str, ...]]:
    """Return the statement that makes a row, or changes the one with its key as `grown` says of the new values; and the
    columns in the order it takes them."""
    values: dict[str, Any] = {
        column.name: sa.bindparam(column.name) for column in table.columns if column is not table.autoincrement_column
    }
    statement: sa.Insert
    if dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        lite = sqlite.insert(table).values(values)
        statement = lite.on_conflict_do_update(index_elements=list(key), set_=grown(lite.excluded))
    else:  # imported here, since it takes 60 ms that a start on SQLite need not wait for
        from sqlalchemy.dialects import mysql

        maria = mysql.insert(table).values(values)
        statement = maria.on_duplicate_key_update(grown(maria.inserted))
    return _compiled(statement, dialect)


def put(connection: sa.Connection, table: sa.Table, key: Sequence[str], rows: Sequence[Row]) -> None:
    """Make rows, or replace those with their keys; each row has all columns."""
    if rows:
        statement, names = _putting(table, tuple(key), connection.dialect)
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


@cache
def _putting(table: sa.Table, key: tuple[str, ...], dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    rest = [column.name for column in table.columns if column.name not in key]
    return adding(table, key, lambda new: {name: new[name] for name in rest}, dialect)


@cache
def _insert(table: sa.Table, columns: tuple[str, ...], dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    return _compiled(table.insert().values({name: sa.bindparam(name) for name in columns}), dialect)


@cache
def _update_live(columns: tuple[str, ...], dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    from storage.schema import attempt

    where = (attempt.c.job_id == sa.bindparam("owner"), attempt.c.live == sa.literal_column("1"))
    values: dict[str, Any] = {name: sa.bindparam(f"new_{name}") for name in columns}
    statement, names = _compiled(attempt.update().where(*where).values(values), dialect)
    return statement, tuple(name.removeprefix("new_") for name in names)


@cache
def _update_live_by_join(columns: tuple[str, ...], dialect: sa.Dialect) -> str:
    """One statement for all rows: drivers of MySQL send an UPDATE of many rows one by one, 15 times as slow.

    Texts are joined as LONGTEXT, since JSON_TABLE cuts off what is longer than its column without a word.
    """
    from storage.schema import attempt

    def kind(column: sa.Column[Any]) -> str:
        return "LONGTEXT" if isinstance(column.type, sa.String) else column.type.compile(dialect)

    quoted = [dialect.identifier_preparer.quote(name) for name in columns]
    fields = [f"v{n} {kind(attempt.c[name])} PATH '$[{n}]' ERROR ON ERROR" for n, name in enumerate(columns, start=1)]
    changes = ", ".join(f"attempt.{name} = given.v{n}" for n, name in enumerate(quoted, start=1))
    return (
        f"UPDATE attempt INNER JOIN JSON_TABLE(%s, '$[*]' COLUMNS (owner BIGINT PATH '$[0]', {', '.join(fields)}))"  # noqa: S608
        f" AS given ON attempt.job_id = given.owner SET {changes} WHERE attempt.live = 1"
    )


def _compiled(statement: sa.Insert | sa.Update, dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    compiled: Any = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup)

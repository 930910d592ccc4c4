"""Many rows with one statement, by the driver's own bulk call.

SQLAlchemy prepares the parameters of each row anew; in the bench of a job's life this was the largest single cost of
writing. The statement is compiled once; the rows go to the driver as they are, many in one step.
"""

import re
from collections.abc import Callable, Sequence
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any

import msgspec
import sqlalchemy as sa

Row = dict[str, Any]
CHUNK = 5000
"""Most rows that go to a server in one statement: a log of 2 kB each stays below max_allowed_packet."""
PORTIONS = (256, 64, 16, 4, 1)
"""Rows that go to SQLite in one statement: few texts, which it keeps compiled, and few steps for any number."""
_MARKS = re.compile(r"(?<=VALUES )(\([?, ]+\))")


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the same columns; values must be plain (no SQL expressions)."""
    if rows:
        run(connection, _insert(table, tuple(rows[0]), connection.dialect), rows)


def run(connection: sa.Connection, made: tuple[str, Sequence[str]], rows: Sequence[Row]) -> None:
    """Run a statement, made with the names of its parameters in their order, for all rows."""
    statement, names = made
    values = map(itemgetter(*names), rows) if len(names) > 1 else ((row[names[0]],) for row in rows)
    run_all(connection, statement, list(values))


def run_all(connection: sa.Connection, statement: str, rows: Sequence[Sequence[Any]]) -> None:
    """Run a statement with `VALUES (...)` for rows of its parameters.

    The driver of SQLite would run it row by row and give the interpreter away at each; the drivers of MySQL write the
    rows out themselves.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(statement, list(rows))
        return
    done = 0
    for size in PORTIONS:
        while len(rows) - done >= size:
            portion = chain.from_iterable(rows[done : done + size])
            connection.exec_driver_sql(_several(statement, size), tuple(portion))
            done += size


@cache
def _several(statement: str, number: int) -> str:
    """Return the statement for a number of rows."""
    head, marks, tail = _MARKS.split(statement, maxsplit=1)
    return head + ", ".join([marks] * number) + tail


def update_live(connection: sa.Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Set `columns` of the live attempts of jobs; each row names its job as `owner`."""
    if not rows:
        return
    if connection.dialect.name == "sqlite":
        run(connection, (_update_live(tuple(columns)), ("owner", *columns)), rows)
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
        run(connection, _putting(table, tuple(key), connection.dialect), rows)


@cache
def _putting(table: sa.Table, key: tuple[str, ...], dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    rest = [column.name for column in table.columns if column.name not in key]
    return adding(table, key, lambda new: {name: new[name] for name in rest}, dialect)


@cache
def _insert(table: sa.Table, columns: tuple[str, ...], dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    return _compiled(table.insert().values({name: sa.bindparam(name) for name in columns}), dialect)


@cache
def _update_live(columns: tuple[str, ...]) -> str:
    """https://sqlite.org/lang_update.html#upfrom (SQLite 3.33)"""
    given = [f"v{n}" for n in range(len(columns))]
    changes = ", ".join(f"{name} = given.{value}" for name, value in zip(columns, given, strict=True))
    return (
        f"WITH given (owner, {', '.join(given)}) AS (VALUES ({', '.join('?' * (len(given) + 1))}))"  # noqa: S608
        f" UPDATE attempt SET {changes} FROM given WHERE attempt.job_id = given.owner AND attempt.live = 1"
    )


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

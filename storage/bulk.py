"""Many rows with one statement, by the driver's own bulk call.

SQLAlchemy prepares the parameters of each row anew; in the bench of a job's life this was the largest single cost of
writing. The statement is compiled once; the rows go to the driver as they are.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

Row = dict[str, Any]


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Row]) -> None:
    """Insert rows that all have the same columns; values must be plain (no SQL expressions)."""
    if rows:
        statement, names = _insert(table, tuple(rows[0]), connection.dialect)
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


def update_live(connection: sa.Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Set `columns` of the live attempts of jobs; each row names its job as `owner`."""
    if rows:
        statement, names = _update_live(tuple(columns), connection.dialect)
        connection.exec_driver_sql(statement, [tuple(row[name] for name in names) for row in rows])


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


def _compiled(statement: sa.Insert | sa.Update, dialect: sa.Dialect) -> tuple[str, tuple[str, ...]]:
    compiled: Any = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup)

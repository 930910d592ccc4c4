"""What statements say differently to each database."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

Connection = sa.Connection
"""What a question is a function of; rooms above pass it on and never look inside."""


class Ids(sa.types.TypeDecorator[Sequence[int]]):
    """Any number of ids as one parameter: for SQLite a JSON list, for MariaDB the list that its driver writes out."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Sequence[int] | None, dialect: sa.Dialect) -> Any:
        ids = [int(identity) for identity in value or ()]
        if dialect.name == "sqlite":
            return f"[{','.join(map(str, ids))}]"
        return ids or [None]


class _Among(FunctionElement[bool]):
    """`column IN (ids)`; see `among`. It has no type: SQLAlchemy makes `(…) = 1` of a Boolean, which no index answers."""

    name = "among"
    type = sa.types.NULLTYPE  # type: ignore[assignment]
    inherit_cache = True


def among(column: sa.ColumnElement[Any], ids: Sequence[int] | None = None) -> sa.ColumnElement[bool]:
    """`column IN (ids)` with one parameter whatever the number of ids, so that the statement is compiled once.

    Without `ids` the parameter is called "ids".
    """
    given = sa.bindparam("ids", type_=Ids) if ids is None else sa.bindparam(None, list(ids), type_=Ids, unique=True)
    return _Among(column, given)


@compiles(_Among)
def _among_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN (SELECT CAST(value AS BIGINT) FROM json_each({ids}))"  # noqa: S608


@compiles(_Among, "mysql", "mariadb")
def _among_list(element: _Among, compiler: Any, **options: Any) -> str:
    """A written list: an UPDATE with a subquery in its place would read the whole table (MariaDB before 11.1)."""
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    return f"{column} IN {ids}"


@compiles(sa.schema.CreateTable, "mysql", "mariadb")
def _create_table(element: sa.schema.CreateTable, compiler: Any, **options: Any) -> str:
    """Every table, whoever makes it: transactions, and names that differ in case or accent are two names."""
    made = compiler.visit_create_table(element, **options).rstrip()
    return f"{made} ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin\n\n"

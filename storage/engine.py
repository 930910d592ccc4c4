"""What statements say differently to each database."""

from collections.abc import Sequence
from typing import Any

import msgspec
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


class Words(sa.types.TypeDecorator[Sequence[str]]):
    """As `Ids`, of texts: tokens, names of files, targets."""

    impl = sa.String
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: sa.Dialect) -> Any:
        words = list(map(str, value or ()))
        if dialect.name == "sqlite":
            return msgspec.json.encode(words).decode()
        return words or [None]


class _Among(FunctionElement[bool]):
    """`column IN (list)`; see `among`. It has no type: SQLAlchemy makes `(…) = 1` of a Boolean, which no index answers."""

    name = "among"
    type = sa.types.NULLTYPE  # type: ignore[assignment]
    inherit_cache = True


def among(column: sa.ColumnElement[Any], ids: Sequence[int] | None = None) -> sa.ColumnElement[bool]:
    """`column IN (ids)` with one parameter whatever the number of ids, so that the statement is compiled once.

    Without `ids` the parameter is called "ids".
    """
    return _Among(column, _given("ids", Ids, ids))


def among_words(column: sa.ColumnElement[str], words: Sequence[str] | None = None) -> sa.ColumnElement[bool]:
    """As `among`, for texts; the parameter is called "words"."""
    return _Among(column, _given("words", Words, words))


def _given(name: str, kind: type[Any], values: Sequence[Any] | None) -> sa.BindParameter[Any]:
    return sa.bindparam(name, type_=kind) if values is None else sa.bindparam(None, values, type_=kind, unique=True)


@compiles(_Among)
def _among_json(element: _Among, compiler: Any, **options: Any) -> str:
    column, ids = (compiler.process(part, **options) for part in element.clauses)
    value = "value" if isinstance(element.clauses.clauses[1].type, Words) else "CAST(value AS BIGINT)"
    return f"{column} IN (SELECT {value} FROM json_each({ids}))"  # noqa: S608


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

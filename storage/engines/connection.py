"""A connection that does not prepare a statement again which it has run before.

To run a compiled statement takes SQLAlchemy 25 to 90 us, SQLite itself 2 to 10. Statements are made once here (constants beside
the functions of `storage/`), so what SQLAlchemy makes of one is kept: its text, the order of its parameters, how values are
converted. From the second run on these go straight to the driver's cursor, in the transaction and with the errors of
SQLAlchemy's connection. A statement made for one use goes the long way.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NoReturn
from weakref import WeakKeyDictionary, WeakSet

import sqlalchemy as sa
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData

Convert = Callable[[Any], Any]
KEPT = (sa.Select, sa.CompoundSelect, sa.Update, sa.Delete)
"""Kinds of statements that are kept. Rows go in by storage/bulk.py, or one by one and seldom."""
PART = 5000
"""Rows that are fetched at once; of a larger result the rest is fetched as it is read."""
NOTHING = SimpleResultMetaData([])


class Rows(IteratorResult[Any]):
    """What the driver's cursor found or changed, as a result of SQLAlchemy."""

    def __init__(self, names: SimpleResultMetaData, rows: Iterable[Any], rowcount: int) -> None:
        super().__init__(names, iter(rows))
        self.rowcount = rowcount


class Prepared:
    """A statement as the driver takes it; `given` names the parameters that each run brings."""

    def __init__(self, compiled: Any, given: Mapping[str, Any], columns: Sequence[sa.ColumnElement[Any]]) -> None:
        dialect = compiled.dialect
        state = compiled.construct_expanded_state(given)
        named = {name: bind.type.dialect_impl(dialect).bind_processor(dialect) for name, bind in compiled.binds.items()}
        convert = {**named, **state.processors}
        self.text: str = state.statement
        self.given = frozenset(given)
        self._order: Sequence[str] = tuple(state.positiontup)
        self._convert: dict[str, Convert] = {name: convert[name] for name in self.given if convert[name]}
        self._fixed = {
            name: convert[name](value) if convert.get(name) else value
            for name, value in state.parameters.items()
            if name not in given
        }
        read = [column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns]
        self._read: list[tuple[int, Convert]] = [(n, each) for n, each in enumerate(read) if each is not None]
        self._columns = len(read)
        self._names: SimpleResultMetaData | None = None

    def values(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        """Return all parameters in the order of the text."""
        values = {**self._fixed, **given}
        for name, convert in self._convert.items():
            values[name] = convert(values[name])
        return tuple([values[name] for name in self._order])

    def result(self, cursor: Any, rows: Iterable[Any]) -> Rows:
        """Return what a cursor found or changed by it."""
        if self._names is None:
            self._names = _names(cursor)
            assert len(self._names.keys) == self._columns, f"{self._columns} columns expected: {self.text}"
        return Rows(self._names, map(self._row, rows) if self._read else rows, cursor.rowcount)

    def _row(self, row: Sequence[Any]) -> tuple[Any, ...]:
        values = list(row)
        for n, read in self._read:
            values[n] = read(values[n])
        return tuple(values)


def _names(cursor: Any) -> SimpleResultMetaData:
    return SimpleResultMetaData([column[0] for column in cursor.description or ()])


class Statements:
    """What is kept of the statements that the connections of one engine have run."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._seen: WeakSet[sa.Executable] = WeakSet()
        self._kept: WeakKeyDictionary[sa.Executable, Prepared | None] = WeakKeyDictionary()

    def find(self, statement: sa.Executable, given: Mapping[str, Any]) -> Prepared | None:
        """Return what is kept of a statement that has run with parameters of these names; None: it goes the long way."""
        try:
            kept = self._kept[statement]
        except KeyError:
            if statement not in self._seen:
                self._seen.add(statement)
                return None
            kept = self._kept[statement] = self._prepare(statement, given)
        return kept if kept is not None and kept.given == given.keys() else None

    def _prepare(self, statement: Any, given: Mapping[str, Any]) -> Prepared | None:
        if not isinstance(statement, KEPT) or statement.get_execution_options():
            return None
        compiled = statement.compile(dialect=self._dialect)
        written = {bind.key for bind in compiled.post_compile_params | compiled.literal_execute_params}
        own = compiled.binds.keys() - written
        if not given.keys() <= own or any(bind.callable for bind in compiled.binds.values()):
            return None
        return Prepared(compiled, given, list(statement.exported_columns))


class Connection(sa.Connection):
    """As SQLAlchemy's, but that kept statements, and many rows at once, take the short way.

    A listener to SQLAlchemy's events hears of every statement: while there is one, all go the long way.
    """

    def __init__(self, engine: sa.Engine, statements: Statements) -> None:
        super().__init__(engine)
        self._statements = statements

    def execute(self, statement: Any, parameters: Any = None, *, execution_options: Any = None) -> Any:
        given = {} if parameters is None else parameters
        if isinstance(given, dict) and not execution_options and self._plain():
            prepared = self._statements.find(statement, given)
            if prepared is not None:
                return prepared.result(*self._run(prepared.text, prepared.values(given)))
        return super().execute(statement, parameters, execution_options=execution_options)

    def exec_driver_sql(self, statement: str, parameters: Any = None, execution_options: Any = None) -> Any:
        """Run a text of the driver's own; a list holds the parameters of many runs."""
        if isinstance(parameters, list | tuple) and not execution_options and self._plain():
            cursor, rows = self._run(statement, parameters, many=isinstance(parameters, list))
            return Rows(_names(cursor) if cursor.description else NOTHING, rows, cursor.rowcount)
        return super().exec_driver_sql(statement, parameters, execution_options)

    def _plain(self) -> bool:
        return not (self.get_execution_options() or self._has_events or self.engine._has_events)

    def _run(self, text: str, values: Sequence[Any], *, many: bool = False) -> tuple[Any, Iterable[Any]]:
        """Return the cursor that has run a text, and its rows."""
        if not self.in_transaction():
            self.begin()
        cursor = None
        try:
            cursor = self.connection.cursor()
            (cursor.executemany if many else cursor.execute)(text, values)
            rows = cursor.fetchmany(PART) if cursor.description else ()
        except BaseException as error:
            self._fail(error, text, values, cursor)
        return cursor, rows if len(rows) < PART else chain(rows, self._rest(cursor, text, values))

    def _rest(self, cursor: Any, text: str, values: Sequence[Any]) -> Iterator[Any]:
        try:
            while rows := cursor.fetchmany(PART):
                yield from rows
        except self.dialect.loaded_dbapi.Error as error:
            self._fail(error, text, values, cursor)

    def _fail(self, error: BaseException, text: str, values: Sequence[Any], cursor: Any) -> NoReturn:
        """Raise what SQLAlchemy makes of an error of the driver, having given up a connection that is lost."""
        known = isinstance(error, self.dialect.loaded_dbapi.Error)
        self._handle_dbapi_exception(error, text if known else None, values, cursor, None)

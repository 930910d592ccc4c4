"""Migrations on a database that commits each statement about tables by itself: one that died is finished by the next start.

MariaDB and MySQL end the transaction at each CREATE, ALTER or DROP (https://mariadb.com/kb/en/sql-statements-that-cause-an-implicit-commit/).
So each statement of a migration is numbered, and the number of the last one that is done is kept beside the tables; what changes
rows is committed together with its number. A migration executes its statements by `op`, always the same ones in the same order.
"""

from typing import Any

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext

metadata = sa.MetaData()
migrating = sa.Table(
    "migrating",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("base", sa.String(32), nullable=False),
    sa.Column("step", sa.Integer, nullable=False),
)
ALREADY = frozenset({1050, 1051, 1060, 1061, 1091, 1826, 3822})
"""Errors of a statement that was done just before the process died, and not yet counted: the table, column, index or constraint
is there already, or gone already (https://mariadb.com/kb/en/mariadb-error-code-reference/)."""


class Resumption:
    """Counts the statements of the migration that is being run; `base` is the revision that it starts from."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._execute: Any = None

    def watch(self, context: MigrationContext) -> None:
        """Count from here on what this context executes."""
        self._execute = context.impl._exec
        self._begin(context.get_current_revision() or "")
        # named private, and what Alembic's own dialects override: every statement of a migration passes here
        context.impl._exec = self._count  # type: ignore[method-assign]

    def _begin(self, base: str) -> None:
        self._base = base
        self._number = 0
        self._marked = False
        self._done: int | None = None
        """The last statement that an earlier run has done; None: there was no earlier run."""
        if sa.inspect(self._connection).has_table(migrating.name):
            row = self._connection.execute(sa.select(migrating.c.base, migrating.c.step)).one_or_none()
            self._done = row.step if row is not None and row.base == base else None
        self._connection.commit()

    def applied(self, ctx: MigrationContext, *_: Any, **__: Any) -> None:
        """A whole migration is done, and its revision written: the next one counts anew."""
        self._connection.commit()
        self._begin(ctx.get_current_revision() or "")

    def _count(self, construct: Any, *arguments: Any, **options: Any) -> Any:
        self._number += 1
        if self._done is not None and self._number <= self._done:
            return None
        self._mark(self._number - 1)
        try:
            result = self._execute(construct, *arguments, **options)
        except sa.exc.DBAPIError as error:
            if self._done is None or self._number != self._done + 1 or _code(error) not in ALREADY:
                raise
            result = None
            self._connection.rollback()
        self._mark(self._number)
        return result

    def _mark(self, step: int) -> None:
        """Keep the number of the last statement that is done."""
        if not self._marked:
            metadata.create_all(self._connection)
            self._connection.execute(migrating.delete())
            self._connection.execute(migrating.insert().values(id=1, base=self._base, step=step))
            self._marked = True
        else:
            self._connection.execute(migrating.update().values(step=step))
        self._connection.commit()

    def finish(self) -> None:
        """All migrations are done: nothing is left to resume."""
        metadata.drop_all(self._connection)


def _code(error: sa.exc.DBAPIError) -> int:
    arguments = getattr(error.orig, "args", ())
    return arguments[0] if arguments and isinstance(arguments[0], int) else 0

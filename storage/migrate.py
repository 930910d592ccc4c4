"""Bring a store to the schema of this program."""

import re
from collections import defaultdict
from typing import TYPE_CHECKING

import sqlalchemy as sa

from storage.errors import StoreCorrupt, StoreError, StoreForeign, StoreTooNew
from storage.schema import Schema

if TYPE_CHECKING:
    from alembic.config import Config

_COLUMNS = {
    True: "SELECT m.name, p.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS p WHERE m.type = 'table'",
    False: "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()",
}
"""Every table and column: of SQLite, and of a server."""


def _version_table(schema: Schema) -> str:
    return f"version_{schema.name}"


def revisions(schema: Schema) -> list[str]:
    """Return the known revisions, oldest first: read from the files, since a start without migrations needs no Alembic."""
    files = sorted((schema.migrations / "versions").glob("*.py"))
    found = (re.search(r'^revision(?:: str)? = "(\w+)"', file.read_text(), re.MULTILINE) for file in files)
    return [match.group(1) for match in found if match]


def revision(connection: sa.Connection, schema: Schema) -> str:
    """Return the revision of a store, "" if it holds nothing of ours."""
    if not sa.inspect(connection).has_table(_version_table(schema)):
        return ""
    query = f"SELECT version_num FROM {_version_table(schema)}"  # noqa: S608
    return str(connection.exec_driver_sql(query).scalar_one_or_none() or "")


def is_current(connection: sa.Connection, schema: Schema) -> bool:
    """Return whether nothing is to be done. Reads only.

    Raises StoreTooNew if the store is ahead of this program, StoreForeign if it holds somebody else's tables, StoreCorrupt if
    it is not what its revision says.
    """
    known = revisions(schema)
    tables = sa.inspect(connection).get_table_names()
    if _version_table(schema) not in tables:
        if "version_copying" in tables:
            raise StoreForeign("the store is a copy that was not finished; run the same `db copy` again")
        if tables:
            found = ", ".join(sorted(tables)[:5])
            raise StoreForeign(
                f"the database has tables that are not ours ({found}); expected a store of this kind, or an empty one"
            )
        return False
    current = revision(connection, schema)
    if current and current not in known:
        raise StoreTooNew(f"the store has schema {current}, this program knows up to {known[-1]}; install a newer one")
    if current != known[-1]:
        return False
    if missing := _missing(connection, schema):
        raise StoreCorrupt(
            f"the store says that it has schema {current}, but lacks {missing}; restore it from a backup"
        )
    return True


def require_current(connection: sa.Connection, schema: Schema) -> None:
    """Refuse to read what this program would misread; raises as `is_current`, and StoreError for an older store."""
    if not is_current(connection, schema):
        raise StoreError(
            f"the store is empty or older than this program ({revisions(schema)[-1]}): the agent's next start mends that"
        )


def _missing(connection: sa.Connection, schema: Schema) -> str:
    """Return the first tables and columns that are not there, "" if all are: one question, whatever their number."""
    found: dict[str, set[str]] = defaultdict(set)
    for table, column in connection.exec_driver_sql(_COLUMNS[connection.dialect.name == "sqlite"]):
        found[table].add(column)
    lacking = []
    for name, wanted in sorted(schema.metadata.tables.items()):
        if name not in found:
            lacking.append(f"table {name}")
        lacking += [
            f"{name}.{column.name}" for column in wanted.columns if name in found and column.name not in found[name]
        ]
    return ", ".join(lacking[:5])


def upgrade(connection: sa.Connection, schema: Schema) -> None:
    """Run the missing migrations: all in the caller's transaction, or on MariaDB so that the next start can go on (resuming.py)."""
    from alembic import command

    command.upgrade(_config(connection, schema), "head")


def _config(connection: sa.Connection, schema: Schema) -> "Config":
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(schema.migrations))
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    return config


def run_env() -> None:
    """The body of each env.py: run the migrations on the connection that `upgrade` was given."""
    from alembic import context

    from storage.resuming import Resumption

    attributes = context.config.attributes
    schema: Schema = attributes["schema"]
    connection: sa.Connection = attributes["connection"]
    resumption = None if connection.dialect.name == "sqlite" else Resumption(connection)
    context.configure(
        connection=connection,
        target_metadata=schema.metadata,
        render_as_batch=True,
        version_table=_version_table(schema),
        on_version_apply=resumption.applied if resumption else None,
    )
    if resumption is None:
        context.run_migrations()
        return
    resumption.watch(context.get_context())
    context.run_migrations()
    resumption.finish()

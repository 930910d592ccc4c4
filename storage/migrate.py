"""Bring a store to the schema of this program."""

import re
from typing import TYPE_CHECKING

import sqlalchemy as sa

from storage.errors import StoreForeign, StoreTooNew
from storage.schema import Schema

if TYPE_CHECKING:
    from alembic.config import Config


def _version_table(schema: Schema) -> str:
    return f"version_{schema.name}"


def revisions(schema: Schema) -> list[str]:
    """Return the known revisions, oldest first: read from the files, since a start without migrations needs no Alembic."""
    files = sorted((schema.migrations / "versions").glob("*.py"))
    found = (re.search(r'^revision(?:: str)? = "(\w+)"', file.read_text(), re.MULTILINE) for file in files)
    return [match.group(1) for match in found if match]


def is_current(connection: sa.Connection, schema: Schema) -> bool:
    """Return whether nothing is to be done. Reads only.

    Raises StoreTooNew if the store is ahead of this program, StoreForeign if it holds somebody else's tables.
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
    current = connection.exec_driver_sql(f"SELECT version_num FROM {_version_table(schema)}").scalar_one_or_none()  # noqa: S608
    if current is not None and current not in known:
        raise StoreTooNew(f"the store has schema {current}, this program knows up to {known[-1]}; install a newer one")
    return bool(current == known[-1])


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

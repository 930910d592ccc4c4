"""Bring a store to the schema of this program."""

import sqlalchemy as sa
from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from storage.errors import StoreForeign, StoreTooNew
from storage.schema import Schema


def _config(connection: sa.Connection, schema: Schema) -> Config:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations))
    config.attributes["connection"] = connection
    config.attributes["schema"] = schema
    return config


def _version_table(schema: Schema) -> str:
    return f"version_{schema.name}"


def is_current(connection: sa.Connection, schema: Schema) -> bool:
    """Return whether nothing is to be done. Reads only.

    Raises StoreTooNew if the store is ahead of this program, StoreForeign if it holds somebody else's tables.
    """
    scripts = ScriptDirectory.from_config(_config(connection, schema))
    current = MigrationContext.configure(
        connection, opts={"version_table": _version_table(schema)}
    ).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None and (tables := sa.inspect(connection).get_table_names()):
        found = ", ".join(sorted(tables)[:5])
        raise StoreForeign(
            f"the database has tables that are not ours ({found}); expected a store of this kind, or an empty one"
        )
    if current is not None and current not in known:
        newest = scripts.get_current_head()
        raise StoreTooNew(f"the store has schema {current}, this program knows up to {newest}; install a newer one")
    return current == scripts.get_current_head()


def upgrade(connection: sa.Connection, schema: Schema) -> None:
    """Run the missing migrations, all in the caller's transaction."""
    command.upgrade(_config(connection, schema), "head")


def run_env() -> None:
    """The body of each env.py: run the migrations on the connection that `upgrade` was given."""
    attributes = context.config.attributes
    schema: Schema = attributes["schema"]
    context.configure(
        connection=attributes["connection"],
        target_metadata=schema.metadata,
        render_as_batch=True,
        version_table=_version_table(schema),
    )
    context.run_migrations()

"""Bring a store to the schema of this program."""

from alembic import command, context
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
import sqlalchemy as sa

from storage.errors import StoreForeign, StoreTooNew
from storage.schema import Schema


def upgrade(connection: sa.Connection, schema: Schema) -> None:
    """Run the missing migrations, all in the caller's transaction.

    Raises StoreTooNew if the store is ahead of this program, StoreForeign if it holds somebody else's tables.
    """
    config = Config()
    config.set_main_option("script_location", str(schema.migrations))
    config.attributes["connection"] = connection
    config.attributes["metadata"] = schema.metadata
    scripts = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    known = {script.revision for script in scripts.walk_revisions()}
    if current is None and (tables := sa.inspect(connection).get_table_names()):
        raise StoreForeign(f"the database has tables that are not ours ({', '.join(sorted(tables)[:5])}); expected an empty one")
    if current is not None and current not in known:
        raise StoreTooNew(f"the store has schema {current}, this program knows up to {scripts.get_current_head()}; install a newer one")
    if current != scripts.get_current_head():
        command.upgrade(config, "head")


def run_env() -> None:
    """The body of each env.py: run the migrations on the connection that `upgrade` was given."""
    config = context.config
    context.configure(connection=config.attributes["connection"], target_metadata=config.attributes["metadata"], render_as_batch=True)
    context.run_migrations()

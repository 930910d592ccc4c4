"""A store that cannot be used is refused with what to do about it, and stays as it was."""

import os
import re
import shutil
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.dialects.mysql import LONGTEXT, MEDIUMBLOB, TINYINT

from storage import accounts, schema
from storage.errors import StoreCorrupt, StoreError, StoreForeign, StoreInUse, StoreTooNew
from storage.migrate import require_current
from storage.schema import AGENT, Schema
from storage.store import Store

SCHEMAS = [AGENT, next(found for found in vars(accounts).values() if isinstance(found, Schema) and found is not AGENT)]


async def refused(path: Path, error: type[StoreError], match: str, kind: Schema = AGENT) -> None:
    with pytest.raises(error, match=match) as caught:
        await Store.open(f"sqlite:///{path}", kind)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


@pytest.fixture
def url(path: Path) -> str:
    """Files; what a server may answer is in test_mariadb_open.py."""
    return f"sqlite:///{path}"


@pytest.mark.feature("PA-022")
async def test_a_second_holder_is_refused_and_told_who_has_it(store, path):
    before = path.stat().st_mtime_ns
    await refused(path, StoreInUse, rf"agent.db is in use by process {os.getpid()} on \S+; stop it first")
    assert path.stat().st_mtime_ns == before
    assert await store.write(lambda tx: 1) == 1


async def test_a_store_that_was_let_go_can_be_taken(url):
    for _ in range(2):
        store = await Store.open(url)
        await store.close()


@pytest.mark.feature("PA-022")
async def test_a_newer_store_is_refused(url, path):
    store = await Store.open(url)
    await store.close()
    with sqlite3.connect(path) as direct:
        direct.execute("UPDATE version_agent SET version_num = '9999'")
    direct.close()
    content = path.read_bytes()
    await refused(path, StoreTooNew, "the store has schema 9999, this program knows up to .*; install a newer one")
    assert path.read_bytes() == content


@pytest.mark.feature("PA-022", "PA-023")
@pytest.mark.parametrize(
    ("harm", "lacks"),
    [
        ("DROP TABLE adjustment", "table adjustment"),
        ("ALTER TABLE adjustment DROP COLUMN releases", r"adjustment\.releases"),
    ],
    ids=["table", "column"],
)
async def test_a_store_that_is_not_what_its_revision_says_is_refused(new_store_url, harm, lacks):
    where = new_store_url()
    store = await Store.open(where)
    await store.write(lambda tx: tx.connection.exec_driver_sql(harm).close())
    await store.close()
    with pytest.raises(
        StoreCorrupt, match=rf"says that it has schema \d+, but lacks {lacks}; restore it from a backup"
    ):
        await Store.open(where)


@pytest.mark.feature("PA-023")
@pytest.mark.parametrize(("revision", "match"), [("0001", "older than this program"), ("9999", "install a newer one")])
async def test_nothing_is_read_from_a_store_of_another_revision(url, path, revision, match):
    store = await Store.open(url)
    say = f"UPDATE version_agent SET version_num = '{revision}'"
    await store.write(lambda tx: tx.connection.exec_driver_sql(say).close())
    with pytest.raises(StoreError, match=match):
        await store.read(lambda connection: require_current(connection, AGENT))
    await store.close()


@pytest.mark.feature("PA-022")
async def test_a_database_of_somebody_else_is_refused_and_left_alone(path):
    direct = sqlite3.connect(path)
    direct.execute("CREATE TABLE customers (id)")
    direct.commit()
    direct.close()
    content = path.read_bytes()
    await refused(path, StoreForeign, r"tables that are not ours \(customers\)")
    assert path.read_bytes() == content


@pytest.mark.feature("PA-022")
@pytest.mark.parametrize(("made", "opened"), [SCHEMAS, SCHEMAS[::-1]], ids=["agent", "prodmgr"])
async def test_a_store_of_another_kind_is_refused(url, path, made, opened):
    store = await Store.open(url, made)
    await store.close()
    content = path.read_bytes()
    await refused(path, StoreForeign, "not ours", opened)
    assert path.read_bytes() == content


async def test_what_is_no_database_is_refused_and_left_alone(path):
    path.write_bytes(b"Dear diary, " * 1000)
    await refused(path, StoreCorrupt, "file is not a database; restore it from a backup, or name another file")
    assert path.read_bytes() == b"Dear diary, " * 1000


async def test_a_damaged_database_is_refused(url, path):
    store = await Store.open(url)
    await store.close()
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 6] = os.urandom(4096 * 5)
    path.write_bytes(content)
    with pytest.raises((StoreCorrupt, StoreForeign, StoreError)) as caught:
        await Store.open(url)
    assert isinstance(caught.value, StoreError)


async def test_a_locked_database_is_in_use(url, path):
    store = await Store.open(url)
    await store.close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        await refused(path, StoreInUse, "locked")
    finally:
        other.close()


async def test_a_directory_is_no_store(path):
    path.mkdir()
    await refused(path, StoreError, "unable to open database file; expected a file that can be written")


async def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "plain").write_text("")
    await refused(tmp_path / "plain" / "agent.db", StoreError, "expected a directory that can be written")


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root may write everywhere")
async def test_a_directory_without_the_right_to_write(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir()
    closed.chmod(0o500)
    rights = os.geteuid()
    if rights == 0:
        os.seteuid(65534)
    try:
        await refused(closed / "agent.db", StoreError, "Permission denied; expected a directory that can be written")
    finally:
        if rights == 0:
            os.seteuid(0)
    assert list(closed.iterdir()) == []


@pytest.mark.parametrize("url", ["", "agent.db", "sqlite://", "sqlite:///:memory:", "postgresql://host/db", "://"])
async def test_an_address_that_is_none(url):
    with pytest.raises(StoreError, match=r"got .*, expected"):
        await Store.open(url)


async def test_a_secret_in_an_address_is_not_told():
    with pytest.raises(StoreError) as caught:
        await Store.open("postgresql://me:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


@pytest.mark.feature("PA-022")
async def test_how_a_store_is_written(url, path):
    store = await Store.open(url)

    def pragmas(tx):
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names]

    assert await store.write(pragmas) == ["wal", 2, 1]
    await store.close()


@pytest.mark.feature("PA-022")
@pytest.mark.parametrize("kind", SCHEMAS, ids=lambda kind: kind.name)
async def test_migrations_and_model_do_not_drift(new_store_url, kind):
    store = await Store.open(new_store_url(kind), kind)

    def differences(connection):
        options = {"version_table": f"version_{kind.name}", "compare_type": _differ}
        return compare_metadata(MigrationContext.configure(connection, opts=options), kind.metadata)

    found = await store.read(differences)
    await store.close()
    assert [change for change in found if not _is_version_table(change)] == []


def _differ(context, found, model, found_type, model_type):
    """Alembic's own view, but MariaDB keeps a BOOLEAN as TINYINT(1), and a TEXT in the size that holds its characters."""
    boolean = isinstance(model_type, sa.Boolean) and isinstance(found_type, TINYINT)
    text = isinstance(model_type, sa.Text) and isinstance(found_type, sa.Text | LONGTEXT)
    blob = isinstance(model_type, sa.LargeBinary) and isinstance(found_type, MEDIUMBLOB)
    return False if boolean or text or blob else None


def _is_version_table(change) -> bool:
    return change[0] == "remove_table" and change[1].name.startswith("version_")


@pytest.mark.feature("PA-017")
async def test_constraints_in_the_database_are_those_of_the_model(store_url):
    """Alembic does not compare CHECK constraints: compare what the database says it was made with."""

    def checks(connection):
        inspector = sa.inspect(connection)
        return {
            table: sorted(str(check["sqltext"]) for check in inspector.get_check_constraints(table))
            for table in schema.metadata.tables
        }

    expected = {}
    for name, table in schema.metadata.tables.items():
        found = [item for item in table.constraints if isinstance(item, sa.CheckConstraint)]
        texts = (str(item.sqltext.compile(compile_kwargs={"literal_binds": True})) for item in found)
        expected[name] = sorted(text.removeprefix(f"{name}.") for text in texts)
    store = await Store.open(store_url)
    found = await store.read(checks)
    await store.close()
    assert {table: sorted(map(_plain, texts)) for table, texts in found.items()} == {
        table: sorted(map(_plain, texts)) for table, texts in expected.items()
    }


def _plain(text: str) -> str:
    """MariaDB gives a constraint back in its own writing."""
    return re.sub(r"[`\s()]|is not (?=null)|is (?=null)", "", text.lower()).replace("<>", "!=")

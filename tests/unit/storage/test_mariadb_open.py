"""A server that cannot keep a store is refused with what to do about it, and nothing is written."""

import os

import pytest

from storage.engines import mariadb, mariadb_errors, mariadb_session
from storage.engines.opening import open_reader
from storage.errors import StoreAway, StoreError, StoreForeign, StoreInUse, StoreTooNew
from storage.store import Store
from tests.real.mariadb import PASSWORD


@pytest.fixture
def url(maria_url):
    return maria_url()


@pytest.fixture
def empty(maria):
    made = maria.make()
    yield made
    maria.drop(made)


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(mariadb, "LOCK_WAIT_S", 0)
    monkeypatch.setattr(mariadb, "PAUSE_S", 0.001)


async def refused(url, error, match):
    """The refusal is of just this kind, in one line, without the password."""
    with pytest.raises((StoreError, StoreAway), match=match) as caught:
        await Store.open(url)
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value).replace("(using password: YES)", "")


def tables(maria, url):
    name = url.rpartition("/")[2]
    with maria.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{name}'")
        return sorted(row[0] for row in cursor.fetchall())


@pytest.mark.feature("PA-022", "REL-07")
async def test_a_second_holder_is_refused_and_told_who_has_it(store, url):
    await refused(url, StoreInUse, rf"in use by process {os.getpid()} on \S+; stop it first")
    assert await store.write(lambda tx: 1) == 1


@pytest.mark.feature("PA-022")
async def test_a_wrong_password(url):
    await refused(
        url.replace(PASSWORD, "wrong"), StoreError, "Access denied .*expected the user and password of an account"
    )


@pytest.mark.feature("PA-022")
async def test_a_database_that_is_not_there(maria, empty):
    name = empty.rpartition("/")[2]
    maria.run(f"GRANT ALL ON {name}x.* TO {name}@'%'")
    await refused(empty + "x", StoreError, rf"Unknown database '{name}x'; make it: CREATE DATABASE {name}x")


@pytest.mark.feature("PA-022")
async def test_no_rights_on_the_database(maria, empty, url):
    name, other = (address.rpartition("/")[2] for address in (empty, url))
    await refused(
        empty[: -len(name)] + other, StoreError, rf"Access denied .*expected all rights .* GRANT ALL ON {other}"
    )


@pytest.mark.feature("PA-022")
async def test_no_right_to_make_tables(maria, empty):
    name = empty.rpartition("/")[2]
    maria.run(f"REVOKE ALL ON {name}.* FROM {name}@'%'", f"GRANT SELECT, INSERT, UPDATE ON {name}.* TO {name}@'%'")
    await refused(empty, StoreError, rf"CREATE command denied .*GRANT ALL ON {name}.\* TO {name}")
    assert tables(maria, empty) == []


@pytest.mark.feature("PA-022")
async def test_nobody_listens(url, maria):
    await refused(url.replace(str(maria.port), "1"), StoreAway, "expected a server that answers there")


@pytest.mark.feature("PA-022")
async def test_tables_of_somebody_else(maria, empty):
    maria.run(f"CREATE TABLE {empty.rpartition('/')[2]}.customers (id INT)")
    await refused(empty, StoreForeign, r"tables that are not ours \(customers\)")
    assert tables(maria, empty) == ["customers"]


@pytest.mark.feature("PA-022", "PA-023")
async def test_a_newer_store(maria, url):
    maria.run(f"UPDATE {url.rpartition('/')[2]}.version_agent SET version_num = '9999'")
    await refused(url, StoreTooNew, "schema 9999")


@pytest.mark.feature("PA-022")
async def test_a_table_without_transactions(maria, url):
    maria.run(f"ALTER TABLE {url.rpartition('/')[2]}.audit ENGINE=MyISAM")
    await refused(url, StoreError, "table audit is kept by MyISAM; expected InnoDB: ALTER TABLE")


@pytest.mark.feature("PA-022")
async def test_a_server_that_makes_other_tables_by_default(maria, empty):
    """Its default engine, character set and mode do not matter."""
    name = empty.rpartition("/")[2]
    maria.run(
        f"ALTER DATABASE {name} CHARACTER SET latin1",
        "SET GLOBAL default_storage_engine = MyISAM",
        "SET GLOBAL sql_mode = ''",
    )
    try:
        store = await Store.open(empty)
        await store.close()
    finally:
        maria.run("SET GLOBAL default_storage_engine = InnoDB", "SET GLOBAL sql_mode = DEFAULT")
    with maria.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT DISTINCT engine, table_collation FROM information_schema.tables WHERE table_schema = '{name}'"
        )
        assert cursor.fetchall() == (("InnoDB", "utf8mb4_bin"),)


@pytest.mark.feature("PA-022")
async def test_a_read_only_server(maria, url):
    maria.run("SET GLOBAL read_only = 1")
    try:
        await refused(url, StoreError, "read-only.*expected a server that takes writes, not a replica")
    finally:
        maria.run("SET GLOBAL read_only = 0")


@pytest.mark.feature("PA-022")
async def test_packets_that_are_too_small(maria, url):
    maria.run("SET GLOBAL max_allowed_packet = 1048576")
    try:
        await refused(url, StoreError, "max_allowed_packet is 1048576, expected at least 16777216 bytes")
    finally:
        maria.run("SET GLOBAL max_allowed_packet = 16777216")


@pytest.mark.feature("PA-022")
async def test_an_old_server(url, monkeypatch):
    monkeypatch.setitem(mariadb_session.OLDEST, True, (99, 1))
    await refused(url, StoreError, r"got MariaDB 10\.\d+\.\d+\S*, expected MariaDB 99.1 or newer")


@pytest.mark.feature("PA-022")
async def test_a_server_that_syncs_late_is_warned_of(maria, url, caplog):
    maria.run("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
    try:
        await (await Store.open(url)).close()
    finally:
        maria.run("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
    assert "innodb_flush_log_at_trx_commit is 2; expected 1, or a loss of power loses" in caplog.text


@pytest.mark.feature("PA-022")
@pytest.mark.parametrize(
    ("more", "match"),
    [
        ("?charset=latin1", "got the option 'charset', expected one of ssl_ca, ssl_cert, ssl_key, unix_socket"),
        ("?ssl_ca=/nowhere.pem", "No such file.*expected PEM files"),
        ("?ssl_cert=/nowhere.pem", "expected ssl_ca with them"),
    ],
)
async def test_options_of_the_address(url, more, match):
    await refused(url + more, StoreError, match)


@pytest.mark.feature("PA-022")
async def test_over_a_socket_file(maria, url):
    store = await Store.open(f"{url.replace('127.0.0.1', 'localhost')}?unix_socket={maria.socket}")
    assert await store.write(lambda tx: 1) == 1
    await store.close()


@pytest.mark.feature("PA-022")
async def test_a_reader_beside_the_agent_and_without_a_store(store, url, empty):
    reader = open_reader(url)
    query = "SELECT fence FROM lease"
    assert await reader.read(lambda c: c.exec_driver_sql(query).scalar_one()) == 1
    await reader.close()
    reader = open_reader(empty)
    with pytest.raises(StoreAway, match=r"cannot be read: Table '\w+.lease' doesn't exist"):
        await reader.read(lambda c: c.exec_driver_sql(query).scalar_one())
    await reader.close()
    await reader.close()


def test_every_number_means_one_thing():
    found = [mariadb_errors.PASSING, mariadb_errors.AWAY, mariadb_errors.DAMAGED]
    assert sum(map(len, found)) == len(set().union(*found))

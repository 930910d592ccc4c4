"""Every schema that ever was, with data in it, becomes the present one: whole, or finished by the next start."""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import laws, migrate, schema
from storage.engines.sqlite import connect
from storage.errors import StoreError
from storage.migrate import revisions
from storage.schema import AGENT
from storage.store import Store
from tests.stores.recording import Rows, dump, load, migrate_to, place, recorded
from tests.unit.storage.conftest import Campaign, HandClock, make_spec

EARLIER = revisions(AGENT)[:-1]
OWN = {"lease", "version_agent", "migrating"}
"""Tables that opening a store changes."""


def engine_of(url: str) -> sa.Engine:
    """Connect as a store does."""
    address = sa.make_url(url)
    if address.drivername == "sqlite":
        return connect(Path(str(address.database)), writer=True)
    return sa.create_engine(address.set(drivername="mysql+pymysql"), poolclass=sa.pool.NullPool)


@pytest.fixture(params=["sqlite", "mariadb"])
def empty(request: pytest.FixtureRequest, tmp_path: Path):
    """Make empty databases of either kind."""
    made: list[str] = []
    if request.param == "sqlite":
        numbers = itertools.count()
        yield lambda: f"sqlite:///{tmp_path}/{next(numbers)}.db"
        return
    maria = request.getfixturevalue("maria")

    def make() -> str:
        made.append(maria.make())
        return made[-1]

    yield make
    for url in made:
        maria.drop(url)


def at(url: str, revision: str, rows: Rows) -> None:
    """Make a store of an earlier revision and put the rows into it."""
    engine = engine_of(url)
    with engine.connect() as connection:
        migrate_to(connection, revision)
        load(connection, {name: found for name, found in rows.items() if name != "version_agent"})
        connection.commit()
    engine.dispose()


def look(url: str) -> Rows:
    engine = engine_of(url)
    with engine.connect() as connection:
        rows = dump(connection)
    engine.dispose()
    return rows


def same(before: Rows, after: Rows) -> None:
    """Every row of before is there, in every column that both have."""
    for name, rows in before.items():
        if name in OWN:
            continue
        found = [{key: row[key] for key in rows[0] if key in row} for row in after[name]] if rows else []
        assert sorted(map(repr, found)) == sorted(map(repr, rows)), name


@pytest.mark.feature("PA-023", "REL-05")
def test_every_revision_is_recorded() -> None:
    """Made by `python -m tests.stores.recording`, which a new migration asks for."""
    assert [revision for revision in revisions(AGENT) if not place(revision).exists()] == []
    for revision in revisions(AGENT):
        rows = recorded(revision)
        assert rows["version_agent"] == [{"version_num": revision}]
        filled = {name for name, found in rows.items() if found}
        assert filled >= {"workflow", "allocation", "job", "attempt", "file", "block", "replica", "transfer", "event"}


@pytest.mark.feature("PA-023", "REL-05")
@pytest.mark.parametrize("revision", EARLIER)
async def test_an_earlier_store_is_migrated_with_its_data(empty: Callable[[], str], revision: str) -> None:
    url, rows, clock = empty(), recorded(revision), HandClock()
    at(url, revision, rows)
    clock.now += 10_000
    store = await Store.open(url, clock=clock)
    try:
        same(rows, look(url))
        found = await store.read(lambda c: laws.check(c, now=1_000_100.0, limits=laws.Limits(overdue_s=1e9)))
        assert found == []
        more = Campaign(store, clock, make_spec(name="after"))
        await more.whole()
        assert [breach for breach in await more.breaches() if breach.law != "limbo"] == []
    finally:
        await store.close()


@pytest.mark.feature("REL-05", "PA-023")
async def test_a_store_is_kept_as_it_was_before_its_schema_changes(tmp_path: Path) -> None:
    url, rows = f"sqlite:///{tmp_path}/agent.db", recorded("0009")
    at(url, "0009", rows)
    kept = f"agent.db.before-{revisions(AGENT)[-1]}-from-0009"
    (tmp_path / kept).mkdir()
    with pytest.raises(StoreError, match=r"store .*agent\.db: its schema would change, .* expected room for \d+ bytes"):
        await Store.open(url, clock=HandClock())
    assert look(url)["version_agent"] == [{"version_num": "0009"}], "without a copy nothing changes"
    (tmp_path / kept).rmdir()
    await (await Store.open(url, clock=HandClock())).close()
    before = look(f"sqlite:///{tmp_path}/{kept}")
    assert {name: before[name] for name in rows} == rows
    await (await Store.open(f"sqlite:///{tmp_path}/new.db", clock=HandClock())).close()
    assert not list(tmp_path.glob("new.db.before*")), "a new store has nothing to keep"


class Died(Exception):
    """As a kill: raised before a statement, and nothing after it happens."""


@pytest.mark.feature("PA-023", "REL-05", "REL-12")
@pytest.mark.parametrize("revision", ["", "0001"])
@pytest.mark.parametrize("counted", [True, False], ids=["", "uncounted"])
async def test_a_migration_that_died_is_finished_by_the_next_start(
    empty: Callable[[], str], revision: str, counted: bool
) -> None:
    """Die before statement after statement, or just before it is counted, always on the same store.

    On SQLite each death undoes all, so that each run begins anew: there only some of the moments are tried.
    """
    rows = recorded(revision) if revision else {}
    whole, broken = empty(), empty()
    if revision:
        at(whole, revision, rows)
        at(broken, revision, rows)
    await (await Store.open(whole, clock=HandClock())).close()
    deaths = 0
    for last in itertools.count(1, 9 if broken.startswith("sqlite") else 1):
        if not await asyncio.to_thread(_die, broken, last, counted):
            break
        deaths += 1
    await (await Store.open(broken, clock=HandClock())).close()
    assert (deaths > 0) == (counted or not broken.startswith("sqlite"))
    expected, found = look(whole), look(broken)
    assert {name: found[name] for name in found if name not in OWN} == {
        name: expected[name] for name in expected if name not in OWN
    }
    assert found["version_agent"] == expected["version_agent"]
    assert "migrating" not in found


def _die(url: str, last: int, counted: bool) -> bool:
    """Migrate until statement number `last` of this run; return whether it was reached."""
    engine = engine_of(url)
    writes = itertools.count(1)

    def before(connection, cursor, statement, parameters, context, many) -> None:
        word = statement.split(None, 2)[0].upper()
        bookkeeping = re.search(r"(TABLE|INTO|UPDATE|FROM) `?migrating\b", statement) is not None
        if (
            word in ("CREATE", "ALTER", "DROP", "INSERT", "UPDATE", "DELETE")
            and bookkeeping != counted
            and next(writes) == last
        ):
            raise Died

    sa.event.listen(engine, "before_cursor_execute", before)
    try:
        with engine.connect() as connection:
            migrate.upgrade(connection, AGENT)
            connection.commit()
    except Died:
        return True
    finally:
        engine.dispose()
    return False


@pytest.mark.feature("PA-023", "REL-05")
async def test_a_large_store_is_migrated_in_time(tmp_path: Path) -> None:
    """10⁵ jobs with live attempts, from the first schema on: well below a minute of processor time."""
    url = f"sqlite:///{tmp_path}/large.db"
    rows = recorded("0001")
    at(url, "0001", rows)
    engine = engine_of(url)
    found = sa.MetaData()
    with engine.connect() as connection:
        found.reflect(connection)
        job, attempt, event = (found.tables[name] for name in ("job", "attempt", "event"))
        made = dict(next(row for row in rows["job"] if row["state"] == "pending"))
        tried = dict(next(row for row in rows["attempt"] if row["live"] == 1))
        first = 1_000
        ids = range(first, first + 100_000)
        jobs = [
            {**made, "id": n, "unit": f"u{n}", "first_event": n * 100, "state": "running", "version": 4} for n in ids
        ]
        connection.execute(job.insert(), jobs)
        tries = [{**tried, "id": n, "job_id": n, "token": f"t{n}", "live": 1, "number": 1} for n in ids]
        connection.execute(attempt.insert(), tries)
        for kind in ("JobsCreated", "JobsQueued", "JobsReleased", "JobsSubmitting", "JobsStarted"):
            for start in range(first, first + 100_000, 5000):
                part = list(range(start, start + 5000))
                more = {"site": "A", "target": "A.batch"} if kind == "JobsReleased" else {}
                body = {"type": kind, "ids": part, **more}
                connection.execute(event.insert().values(**_event(kind, part, body)))
        connection.commit()
    engine.dispose()
    began = time.process_time()
    store = await Store.open(url, clock=HandClock())
    spent = time.process_time() - began
    assert spent < 30.0
    running = sa.select(sa.func.count()).where(schema.job.c.state == "running")
    assert await store.read(lambda c: c.execute(running).scalar_one()) >= 100_000
    fold = await store.read(lambda c: laws.check(c, now=1_000_100.0, only={"fold", "one-live", "tallies"}))
    await store.close()
    assert fold == []


def _event(kind: str, ids: list[int], body: dict[str, object]) -> dict[str, object]:
    return {
        "type": kind, "version": 1, "entity": "job", "low": ids[0], "high": ids[-1], "sender": "test", "cause": None,
        "at": 1_000_000.0, "body": json.dumps(body),
    }  # fmt: skip

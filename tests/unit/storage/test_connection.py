"""A statement that has run before takes the short way, and nothing can tell by what it finds, changes or raises."""

import pytest
import sqlalchemy as sa

from domain.job import JobState
from storage import bulk, schema
from storage.engine import among, among_words
from storage.engines import connection as short
from storage.engines import sqlite
from storage.errors import StoreAway, StoreError
from storage.store import Store

alert, event, tally = schema.alert, schema.event, schema.tally
STATES = (JobState.NEW, JobState.QUEUED)
QUESTIONS = {
    "values in the text": (sa.select(tally.c.site, tally.c.number).where(tally.c.state.in_(STATES)), {}),
    "one value given": (sa.select(tally.c.number).where(tally.c.site == sa.bindparam("at")), {"at": "s3"}),
    "a limit given": (sa.select(tally.c.site).order_by(tally.c.site).limit(sa.bindparam("most")), {"most": 4}),
    "a list of ids": (sa.select(event.c.id, event.c.at).where(among(event.c.id)), {"ids": [2, 4, 4, 99]}),
    "a list of words": (sa.select(tally.c.site).where(among_words(tally.c.site)), {"words": ["s1", "it's 100 %", "x"]}),
    "sums": (sa.select(sa.func.coalesce(sa.func.sum(tally.c.number), 0).label("all"), sa.func.count()), {}),
    "a union": (
        sa.union_all(sa.select(tally.c.site), sa.select(event.c.type)).order_by(sa.literal_column("1")).limit(7),
        {},
    ),
    "truth": (sa.select(sa.case((tally.c.number > 3, True), else_=False).label("many"), tally.c.site), {}),
    "nothing": (sa.select(tally.c.site).where(tally.c.site == "none"), {}),
}


async def fill(store):
    fact = {"type": "T", "version": 1, "entity": "job", "low": 1, "high": 1, "sender": "", "cause": None, "body": "{}"}
    place = {"entity": "job", "workflow_id": 1, "type": "", "target": "", "events": 0, "bytes": 0}

    def unit(tx):
        bulk.insert(tx.connection, event, [{**fact, "at": 1e9 + n / 3} for n in range(9)])
        rows = [{**place, "state": STATES[n % 2], "site": f"s{n}", "number": n} for n in range(9)]
        bulk.insert(tx.connection, tally, [*rows, {**rows[0], "site": "it's 100 %"}])

    await store.write(unit)


@pytest.fixture
async def filled(store):
    """A store with some rows."""
    await fill(store)
    return store


@pytest.fixture
def driven(monkeypatch):
    """The texts that went the short way."""
    texts = []
    run = short.Connection._run

    def noted(self, text, values, **options):
        texts.append(text)
        return run(self, text, values, **options)

    monkeypatch.setattr(short.Connection, "_run", noted)
    return texts


async def test_every_run_finds_the_same(filled, driven):
    for name, (statement, given) in QUESTIONS.items():
        driven.clear()
        first, *later = [await filled.read(lambda c, made=(statement, given): c.execute(*made).all()) for _ in range(3)]
        assert len(driven) == 2, name
        for again in later:
            assert again == first, name
            assert [row._mapping.keys() for row in again] == [row._mapping.keys() for row in first], name
            assert [list(map(type, row)) for row in again] == [list(map(type, row)) for row in first], name


async def test_a_list_may_be_longer_at_each_run(filled):
    query = sa.select(event.c.id).where(event.c.id.in_(sa.bindparam("some", expanding=True)))
    for ids in ([1], [1, 2], [1, 2, 3], [2]):
        assert (await filled.read(lambda c, ids=ids: c.execute(query, {"some": ids}).scalars().all())) == ids


async def test_parameters_of_other_names_go_the_long_way(filled):
    query = sa.select(event.c.id).where(event.c.id <= sa.bindparam("most", 3)).order_by(event.c.id)
    for _ in range(3):
        assert len(await filled.read(lambda c: c.execute(query).all())) == 3
        assert len(await filled.read(lambda c: c.execute(query, {"most": 5}).all())) == 5


async def test_a_missing_parameter_is_named(filled):
    query = sa.select(event.c.id).where(event.c.id == sa.bindparam("wanted"))
    for number in (1, 2):
        assert await filled.read(lambda c, n=number: c.execute(query, {"wanted": n}).scalar_one()) == number
    with pytest.raises(sa.exc.StatementError, match="wanted"):
        await filled.read(lambda c: c.execute(query))


async def test_a_change_counts_its_rows(filled, driven):
    change = event.update().where(event.c.id <= sa.bindparam("to")).values(sender=sa.bindparam("by"))
    for run, (to, changed) in enumerate(((3, 3), (5, 5), (0, 0))):
        given = {"to": to, "by": f"it's {run} %"}
        assert await filled.write(lambda tx, given=given: tx.connection.execute(change, given).rowcount) == changed
    senders = await filled.read(lambda c: c.execute(sa.select(event.c.sender).order_by(event.c.id)).scalars().all())
    assert senders == ["it's 1 %"] * 5 + [""] * 4
    assert sum(text.startswith("UPDATE event") for text in driven) == 2


@pytest.mark.feature("PA-010")
async def test_an_error_is_sqlalchemys_and_undoes_its_unit_alone(filled):
    change = tally.update().where(tally.c.site == sa.bindparam("at")).values(state=sa.bindparam("to"))

    def unit(to):
        return lambda tx: tx.connection.execute(change, {"at": "s1", "to": to}).rowcount

    for to in ("a", "b"):
        assert await filled.write(unit(to)) == 1
    with pytest.raises(sa.exc.IntegrityError) as caught:
        await filled.write(unit(None))
    assert "UPDATE tally" in str(caught.value)
    kept = await filled.read(lambda c: c.execute(sa.select(tally.c.state).where(tally.c.site == "s1")).scalar_one())
    assert kept == "b"


async def test_a_large_result_is_read_to_its_end(filled, monkeypatch):
    monkeypatch.setattr(short, "PART", 2)
    query = sa.select(event.c.id).order_by(event.c.id)
    for _ in range(3):
        assert await filled.read(lambda c: c.execute(query).scalars().all()) == list(range(1, 10))
        assert await filled.read(lambda c: c.execute(query).scalars().first()) == 1


async def test_an_error_in_the_middle_of_a_result_is_the_stores_too(path, monkeypatch):
    monkeypatch.setattr(short, "PART", 2)
    query = sa.select(sa.func.json(sa.case((event.c.id < sa.bindparam("bad"), "[]"), else_="{"))).order_by(event.c.id)
    store = await Store.open(f"sqlite:///{path}")
    try:
        await fill(store)
        for _ in range(2):
            assert len(await store.read(lambda c: c.execute(query, {"bad": 99}).all())) == 9
        with pytest.raises(StoreAway, match="malformed JSON"):
            await store.read(lambda c: c.execute(query, {"bad": 6}).all())
    finally:
        await store.close()


async def test_a_listener_hears_of_every_statement(filled):
    query = sa.select(event.c.id).where(event.c.id == sa.bindparam("wanted"))
    heard = []

    def hear(_connection, _cursor, statement, *_rest):
        heard.append(statement)

    for _ in range(2):
        await filled.read(lambda c: c.execute(query, {"wanted": 1}).all())
    sa.event.listen(sa.Engine, "before_cursor_execute", hear)
    try:
        await filled.read(lambda c: c.execute(query, {"wanted": 1}).all())
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", hear)
    assert any("FROM event" in statement for statement in heard)


async def test_what_is_kept_goes_with_its_statement(filled):
    made = sa.select(event.c.id).where(event.c.id == 1)
    statements = short.Statements(sa.create_engine("sqlite://").dialect)
    assert statements.find(made, {}) is None
    assert statements.find(made, {}) is not None
    assert len(statements._kept) == 1
    del made
    assert len(statements._kept) == 0


def test_sqlalchemy_has_the_names_that_are_relied_on():
    for name in ("_handle_dbapi_exception", "_has_events"):
        assert hasattr(sa.Connection, name), f"SQLAlchemy {sa.__version__} has no Connection.{name} any more"


# ---------------------------------------------------------------- many rows
async def test_rows_go_in_whole_whatever_their_number(store):
    fact = {"type": "T", "version": 1, "entity": "job", "low": 1, "high": 1, "sender": "it's %s ?", "cause": None}
    query = sa.select(event.c.at, event.c.body, event.c.sender, event.c.cause).order_by(event.c.id)
    for number in (1, 3, 4, 63, 64, 341, 600):
        rows = [{**fact, "at": 1e9 + n / 7, "body": f"{n} VALUES (?, ?)"} for n in range(number)]
        await store.write(lambda tx, rows=rows: bulk.insert(tx.connection, event, rows))
        found = await store.read(lambda c: c.execute(query).all())
        assert found == [(row["at"], row["body"], row["sender"], None) for row in rows]
        await store.write(lambda tx: tx.connection.execute(event.delete()))


async def test_a_row_may_come_twice_in_one_putting(store):
    key = {"entity": "job", "state": "new", "workflow_id": 1, "type": "", "site": "", "target": ""}
    rows = [{**key, "number": n, "events": n, "bytes": 0} for n in range(20)]
    await store.write(lambda tx: bulk.put(tx.connection, tally, tuple(key), rows))
    assert await store.read(lambda c: c.execute(sa.select(tally.c.number)).scalars().all()) == [19]


async def test_a_library_that_is_too_old_is_refused(path, monkeypatch):
    monkeypatch.setattr(sqlite, "OLDEST", (99, 1))
    with pytest.raises(StoreError, match=r"SQLite: got .*, expected 99\.1 or newer"):
        await Store.open(f"sqlite:///{path}")
    assert not path.exists()

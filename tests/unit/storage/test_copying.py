"""A store is copied whole or not at all, and the copy goes on where the original was."""

import pytest
import sqlalchemy as sa

from storage import copying, laws, log, schema
from storage.compaction import compact
from storage.copying import copy, tables
from storage.errors import StoreError, StoreForeign, StoreInUse
from storage.store import Store
from tests.stores.recording import dump, fill


def quiet(table: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture
async def original(url, clock):
    """A store with rows in every table, closed."""
    store = await Store.open(url, clock=clock)
    await fill(store, clock)
    rows = await store.read(dump)
    await store.close()
    return rows


@pytest.fixture
def target(url, maria, tmp_path):
    """An empty database of the other kind."""
    if not url.startswith("sqlite"):
        yield f"sqlite:///{tmp_path / 'copy.db'}"
        return
    made = maria.make()
    yield made
    maria.drop(made)


@pytest.mark.feature("PA-022", "OPS-16")
async def test_a_source_that_is_not_there_is_not_made(target, clock, tmp_path):
    for _ in range(2):
        with pytest.raises(StoreError, match=r"no store at|the source of the copy is empty"):
            await copy(target, f"sqlite:///{tmp_path / 'new.db'}", clock=clock, progress=quiet)
    assert [*tmp_path.glob("copy.db*"), *tmp_path.glob("new.db*")] == []


@pytest.mark.feature("PA-022", "OPS-16")
async def test_a_copy_is_equal_and_goes_on(url, target, clock, original):
    told = []
    done = await copy(url, target, clock=clock, progress=lambda *step: told.append(step))
    assert {found.table: found.rows for found in done} == {table.name: len(original[table.name]) for table in tables()}
    assert [step for step in told if step[0] == "event"][-1] == (
        "event",
        len(original["event"]),
        len(original["event"]),
    )
    store = await Store.open(target, clock=clock)
    rows = await store.read(dump)
    for table in tables():
        assert sorted(map(repr, rows[table.name])) == sorted(map(repr, original[table.name])), table.name
    assert [b for b in await store.read(lambda c: laws.check(c, now=clock.now)) if b.law != "limbo"] == []
    last = await store.read(log.last)
    await store.write(lambda tx: log.begin(tx, "again"))
    await store.close()
    assert last == max(row["id"] for row in original["event"])


@pytest.mark.feature("PA-022")
async def test_there_and_back(url, target, clock, original, tmp_path):
    await copy(url, target, clock=clock, progress=quiet)
    back = f"sqlite:///{tmp_path / 'back.db'}"
    await copy(target, back, clock=clock, progress=quiet)
    store = await Store.open(back, clock=clock)
    rows = await store.read(dump)
    await store.close()
    for table in tables():
        assert sorted(map(repr, rows[table.name])) == sorted(map(repr, original[table.name])), table.name


@pytest.mark.feature("PA-018", "PA-022")
async def test_ids_of_compacted_facts_are_not_given_again(url, target, clock, original):
    store = await Store.open(url, clock=clock)
    await store.write(lambda tx: tx.connection.execute(schema.parked.delete()))
    await store.write(lambda tx: tx.connection.execute(schema.cursor.delete()))
    await store.write(lambda tx: compact(tx, 9e12))
    last = await store.read(log.last)
    await store.close()
    await copy(url, target, clock=clock, progress=quiet)
    store = await Store.open(target, clock=clock)
    assert await store.read(log.last) == last

    def one_more(tx):
        row = {"type": "x", "version": 1, "entity": "", "low": 0, "high": 0, "sender": "", "at": 0.0, "body": ""}
        tx.connection.execute(schema.event.insert().values(**row))
        return tx.connection.execute(sa.select(sa.func.max(schema.event.c.id))).scalar_one()

    assert await store.write(one_more) > last
    await store.close()


@pytest.mark.feature("PA-022")
async def test_a_live_store_is_not_copied(url, target, clock, original):
    store = await Store.open(url, clock=clock)
    with pytest.raises(StoreInUse):
        await copy(url, target, clock=clock, progress=quiet)
    await store.close()
    await copy(url, target, clock=clock, progress=quiet)


@pytest.mark.feature("PA-022")
async def test_nothing_is_copied_over_a_store(url, target, clock, original):
    await (await Store.open(target, clock=clock)).close()
    with pytest.raises(StoreError, match="the target of the copy is not empty"):
        await copy(url, target, clock=clock, progress=quiet)
    with pytest.raises(StoreError, match="source and target are the same store"):
        await copy(url, url, clock=clock, progress=quiet)


@pytest.mark.feature("PA-022", "REL-12")
@pytest.mark.parametrize("broken_at", ["allocation", "event", "transfer"])
async def test_a_copy_that_was_broken_off_is_no_store_and_is_begun_anew(url, target, clock, original, broken_at):
    def die(table: str, done: int, _total: int) -> None:
        if table == broken_at and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await copy(url, target, clock=clock, progress=die)
    with pytest.raises(StoreForeign, match="a copy that was not finished; run the same `db copy` again"):
        await Store.open(target, clock=clock)
    await copy(url, target, clock=clock, progress=quiet)
    store = await Store.open(target, clock=clock)
    assert len((await store.read(dump))["event"]) == len(original["event"])
    await store.close()


@pytest.mark.feature("PA-022")
async def test_a_difference_is_found(url, target, clock, original, monkeypatch):
    insert = copying.insert

    def forging(connection, table, rows):
        if table.name == "file":
            rows = [(*rows[0][:-1], "other"), *rows[1:]]
        insert(connection, table, rows)

    monkeypatch.setattr(copying, "insert", forging)
    with pytest.raises(StoreError, match=r"the copy differs: table file has .* run it again"):
        await copy(url, target, clock=clock, progress=quiet)
    with pytest.raises(StoreForeign):
        await Store.open(target, clock=clock)


async def test_pages_leave_nothing_out(url, clock, original, monkeypatch):
    monkeypatch.setattr(copying, "PAGE", 3)
    store = await Store.open(url, clock=clock)
    for table in tables():
        found = await store.read(lambda c, t=table: [row for part in copying.pages(c, t) for row in part])
        assert len(found) == len(original[table.name])
    await store.close()

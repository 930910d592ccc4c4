"""One writer: units share commits, a failing one is undone alone, a robbed holder stops, facts are told after the commit."""

import asyncio
import threading

import pytest
import sqlalchemy as sa

from domain.events import WorkflowsAdded, WorkflowsPaused
from storage import alerts, lease, log, schema, writer
from storage.engine import among, among_words
from storage.errors import StoreAway, StoreError, StoreLost
from storage.store import GROUP, Store
from supervisors import Transient


def note(text: str):
    return lambda tx: alerts.raise_alert(tx, "info", text, "subject", text)


async def codes(store: Store) -> list[str]:
    return await store.read(
        lambda c: list(c.execute(sa.select(schema.alert.c.code).order_by(schema.alert.c.id)).scalars())
    )


@pytest.fixture
def held_of():
    """Hold the writer of a store in its thread until told, so that units pile up behind it."""
    began, let_go = threading.Event(), threading.Event()

    def wait(tx):
        began.set()
        assert let_go.wait(20)

    def of(store):
        async def hold():
            task = asyncio.create_task(store.write(wait))
            await asyncio.to_thread(began.wait, 20)
            return task

        return hold, let_go

    yield of
    let_go.set()


@pytest.fixture
def held(store, held_of):
    return held_of(store)


@pytest.fixture
def impatient(monkeypatch):
    """Pauses are noted and not made; no lock is waited for."""
    pauses = []
    monkeypatch.setattr(writer.random, "uniform", lambda low, high: 1.0)
    monkeypatch.setattr(
        writer.Writer, "_pause", property(lambda self: pauses.append, lambda self, pause: None), raising=False
    )
    return pauses


@pytest.mark.feature("PA-009", "PA-022")
async def test_several_units_one_commit(store, held):
    hold, let_go = held
    first = await hold()
    before = store.commits
    writes = [asyncio.create_task(store.write(note(str(n)))) for n in range(GROUP)]
    await asyncio.sleep(0)
    let_go.set()
    await asyncio.gather(first, *writes)
    assert store.commits == before + 2
    assert store.units == GROUP + 1
    assert await codes(store) == [str(n) for n in range(GROUP)]


@pytest.mark.feature("PA-009")
async def test_a_failing_unit_is_undone_alone(store, held):
    hold, let_go = held
    first = await hold()

    def bad(tx):
        note("half")(tx)
        tx.emit(WorkflowsAdded(ids=[1]))
        raise ValueError("no")

    writes = [asyncio.create_task(store.write(unit)) for unit in (note("a"), bad, note("b"))]
    await asyncio.sleep(0)
    let_go.set()
    await first
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(result) for result in results] == [type(None), ValueError, type(None)]
    assert await codes(store) == ["a", "b"]
    assert await store.read(log.last) == 0


@pytest.mark.feature("PA-009", "PA-018")
async def test_a_fact_that_cannot_be_written_undoes_its_state(store):
    def unit(tx):
        note("a")(tx)
        tx.emit(WorkflowsAdded(ids=[1], reason="x" * 300_000))

    with pytest.raises(ValueError, match="at most"):
        await store.write(unit)
    assert await codes(store) == []


def noting(tx, texts):
    """Note all texts; "bad" cannot be noted, and neither can anything together with it."""
    if "bad" in texts:
        raise ValueError(f"bad among {len(texts)}")
    for text in texts:
        note(text)(tx)
    tx.emit(WorkflowsAdded(ids=[len(texts)]))
    return [f"{text} of {len(texts)}" for text in texts]


async def together(store, held, texts):
    """Write texts together, of which each has a writer of its own; return what came of each."""
    hold, let_go = held
    first = await hold()
    writes = [
        asyncio.create_task(store.write_together(noting, text, sender=f"clerk.{number}"))
        for number, text in enumerate(texts)
    ]
    writes.append(asyncio.create_task(store.write(note("alone"))))
    await asyncio.sleep(0)
    let_go.set()
    await first
    return (await asyncio.gather(*writes, return_exceptions=True))[:-1]


@pytest.mark.feature("PA-009", "PA-022")
async def test_parts_of_a_joint_unit_are_run_once_and_each_gets_its_own_result(store, held):
    before = store.commits
    assert await together(store, held, ["a", "b", "c"]) == ["a of 3", "b of 3", "c of 3"]
    assert store.commits == before + 2
    assert await codes(store) == ["a", "b", "c", "alone"]
    facts = await store.read(lambda c: c.execute(sa.select(schema.event.c.low, schema.event.c.sender)).all())
    assert [tuple(fact) for fact in facts] == [(3, "clerk")]


@pytest.mark.feature("PA-009")
async def test_a_part_that_fails_is_undone_alone(store, held):
    a, bad, c = await together(store, held, ["a", "bad", "c"])
    assert (a, str(bad), c) == ("a of 1", "bad among 1", "c of 1")
    assert await codes(store) == ["a", "c", "alone"]
    senders = await store.read(lambda c: c.execute(sa.select(schema.event.c.sender)).scalars().all())
    assert list(senders) == ["clerk.0", "clerk.2"]


async def test_a_joint_unit_has_a_result_for_each_part(store, held):
    with pytest.raises(ValueError, match="zip"):
        await store.write_together(lambda _tx, _parts: [], "a")


async def test_parts_that_gather_are_written_when_the_store_is_closed(store):
    await store.write_together(noting, "a")
    last = asyncio.create_task(store.write_together(noting, "b"))
    await asyncio.sleep(0)
    await store.close()
    assert await last == "b of 1"


async def test_a_cancelled_writer_leaves_nothing_behind(store, held):
    hold, let_go = held
    first = await hold()
    waiting = asyncio.create_task(store.write(note("never")))
    other = asyncio.create_task(store.write(note("other")))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    let_go.set()
    await asyncio.gather(first, other)
    assert waiting.cancelled()
    assert await codes(store) == ["other"]


async def test_a_writer_cancelled_during_its_commit_does_not_hold_up_the_rest(store, held):
    hold, let_go = held
    first = await hold()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    let_go.set()
    assert await store.write(lambda tx: 7) == 7


@pytest.mark.feature("PA-006")
async def test_listeners_are_told_after_the_commit_and_only_of_facts(store, outside):
    told = []

    def listener(kinds):
        told.append((kinds, outside.rows("SELECT count(*) FROM event")[0][0]))

    store.listen(listener)
    await store.write(note("a"))
    await store.write(lambda tx: tx.emit(WorkflowsAdded(ids=[])))
    await store.write(lambda tx: tx.emit(WorkflowsAdded(ids=[1])))
    with pytest.raises(ZeroDivisionError):
        await store.write(lambda tx: (tx.emit(WorkflowsPaused(ids=[1])), 1 / 0))
    assert told == [(frozenset({WorkflowsAdded}), 1)]


async def test_a_listener_that_fails_harms_nobody(store, caplog):
    told = []

    def bad(kinds):
        raise RuntimeError("not now")

    store.listen(bad)
    store.listen(told.append)
    await store.write(lambda tx: tx.emit(WorkflowsAdded(ids=[1])))
    await asyncio.wait_for(store.write(note("still")), 10)
    assert told == [frozenset({WorkflowsAdded})]


@pytest.mark.feature("PA-022", "DBS-05")
async def test_a_unit_cannot_await(store):
    """A unit is a plain function: a coroutine function is refused, and what it would have done is not there."""

    async def wrong(tx):
        note("never")(tx)

    def half(tx):
        note("never either")(tx)
        return wrong(tx)

    for unit in (wrong, half):
        with pytest.raises(TypeError, match="a unit is a plain function"):
            await store.write(unit)
    assert await codes(store) == []


@pytest.mark.feature("PA-022")
async def test_the_loop_of_the_callers_runs_no_statement(store):
    """Neither a unit nor a question holds up the actors, on either store."""
    here = threading.get_ident()
    assert here != await store.write(lambda tx: threading.get_ident())
    assert here != await store.read(lambda c: threading.get_ident())


@pytest.mark.feature("PA-022", "REL-07")
async def test_a_robbed_holder_writes_no_more(store, outside):
    outside.run("UPDATE lease SET fence = fence + 1, holder = 'a thief'")
    results = await asyncio.gather(store.write(note("a")), store.write(note("b")), return_exceptions=True)
    assert [type(result) for result in results] == [StoreLost, StoreLost]
    assert "fence is 2 of a thief, ours was 1: another process has taken it over" in str(results[0])
    assert await codes(store) == []


@pytest.mark.feature("PA-022", "REL-07")
async def test_a_holder_whose_lease_is_gone_writes_no_more(store, outside):
    outside.run("DELETE FROM lease")
    with pytest.raises(StoreLost, match="fence is gone"):
        await store.write(note("a"))


@pytest.mark.feature("PA-022", "REL-09")
async def test_a_busy_database_is_asked_again_then_away_and_comes_back(store, outside, impatient):
    sqlite, mariadb = "PRAGMA busy_timeout=1", "SET SESSION innodb_lock_wait_timeout=0"
    await store.write(
        lambda tx: tx.connection.exec_driver_sql(sqlite if tx.connection.dialect.name == "sqlite" else mariadb).close()
    )
    busy = outside.busy("UPDATE lease SET holder = 'a lock'")
    with busy, pytest.raises(StoreAway, match=r"locked|Lock wait timeout") as caught:
        await store.write(note("a"))
    assert isinstance(caught.value, Transient)
    assert impatient == [0.1 * 2**n for n in range(writer.AGAIN)]
    await store.write(note("b"))
    assert await codes(store) == ["b"]


async def test_readers_cannot_write(store):
    with pytest.raises((sa.exc.DBAPIError, StoreAway), match=r"readonly|READ ONLY"):
        await store.read(lambda c: c.execute(schema.alert.delete()))
    await store.write(note("a"))
    assert await codes(store) == ["a"]


async def test_a_read_sees_what_was_acknowledged_and_one_moment(store, outside):
    await store.write(note("a"))

    def twice(connection):
        count = sa.select(sa.func.count()).select_from(schema.alert)
        first = connection.execute(count).scalar_one()
        outside.run("DELETE FROM alert")
        return first, connection.execute(count).scalar_one()

    assert await store.read(twice) == (1, 1)
    assert await codes(store) == []


@pytest.mark.feature("PA-022")
async def test_any_number_of_ids_in_one_question(store):
    await store.write(lambda tx: [note(str(n))(tx) for n in range(50)] and None)
    for ids in ([], [7], list(range(10, 3000))):
        query = sa.select(schema.alert.c.id).where(among(schema.alert.c.id, ids))
        found = await store.read(lambda c, q=query: list(c.execute(q).scalars()))
        assert sorted(found) == [n for n in ids if n <= 50]


@pytest.mark.feature("PA-022")
async def test_any_number_of_words_in_one_question(store):
    awkward = ["it's", 'a "quoted"', "back\\slash", "50 % of it", "\u65e5\u672c", ":colon", ""]
    await store.write(lambda tx: [note(word)(tx) for word in awkward] and None)
    query = sa.select(schema.alert.c.code).where(among_words(schema.alert.c.code))
    for words in ([], [awkward[0]], awkward, [str(n) for n in range(3000)] + awkward[2:4]):
        found = await store.read(lambda c, w=words: list(c.execute(query, {"words": w}).scalars()))
        assert sorted(found) == sorted(set(words) & set(awkward))


@pytest.mark.feature("PA-022")
async def test_sums_are_whole_numbers(store):
    """MySQL's are DECIMAL, which JSON would write as text."""
    await store.write(note("a"))
    total = await store.read(lambda c: c.execute(sa.select(sa.func.sum(schema.alert.c.count))).scalar_one())
    assert type(total) is int


@pytest.mark.feature("PA-022")
async def test_names_that_differ_in_case_accent_or_script_are_two(store):
    for name in ("a", "A", "\u00e4", "\u65e5\u672c", "\U0001f600"):
        await store.write(note(name))
    assert await codes(store) == ["a", "A", "\u00e4", "\u65e5\u672c", "\U0001f600"]


async def test_close_commits_what_waits(url, clock):
    store = await Store.open(url, clock=clock)
    writes = [asyncio.create_task(store.write(note(str(n)))) for n in range(3)]
    await asyncio.sleep(0)
    await store.close()
    await asyncio.gather(*writes)
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.write(note("late"))
    again = await Store.open(url, clock=clock)
    assert await codes(again) == ["0", "1", "2"]
    await again.close()


async def test_all_units_of_a_commit_have_one_time(store, clock):
    times = await asyncio.gather(*(store.write(lambda tx: tx.now) for _ in range(5)))
    assert set(times) == {clock.now}


@pytest.mark.feature("PA-018")
async def test_a_fact_says_who_wrote_it_why_and_when(store, clock):
    await store.write(lambda tx: tx.emit(WorkflowsAdded(ids=[5, 3, 9], reason="asked")), sender="injector", cause=4)
    row = await store.read(lambda c: c.execute(sa.select(schema.event)).one())
    assert (row.type, row.version, row.entity, row.low, row.high) == ("WorkflowsAdded", 1, "workflow", 3, 9)
    assert (row.sender, row.cause, row.at) == ("injector", 4, clock.now)


@pytest.mark.feature("REL-07")
async def test_the_lease_rises_with_each_holder(url, clock):
    for expected in (1, 2, 3):
        store = await Store.open(url, clock=clock)
        row = await store.read(lambda c: c.execute(sa.select(schema.lease)).one())
        assert (row.fence, row.taken_at) == (expected, clock.now)
        assert row.holder == lease.holder()
        await store.close()


async def test_each_commit_is_numbered(store, outside):
    for number in (1, 2):
        await store.write(note(str(number)))
        assert outside.rows("SELECT commits FROM lease") == [(number,)]


async def test_an_abandoned_store_has_written_nothing_of_what_waited(url, clock, held_of):
    store = await Store.open(url, clock=clock)
    hold, let_go = held_of(store)
    first = await hold()
    waiting = asyncio.create_task(store.write(note("lost")))
    await asyncio.sleep(0)
    ending = asyncio.create_task(store.abandon())
    await asyncio.sleep(0)
    let_go.set()
    await ending
    for task in (first, waiting):
        task.cancel()
    await asyncio.gather(first, waiting, return_exceptions=True)
    again = await Store.open(url, clock=clock)
    assert await codes(again) == []
    await again.close()

"""The network, the server and other transactions fail at every point: each unit is there once, or it is said that it is not."""

import asyncio
import itertools
import threading

import pytest
import sqlalchemy as sa

from domain.events import WorkflowsAdded
from storage import alerts, log, schema, writer
from storage.engines import mariadb, mariadb_session
from storage.errors import StoreAway, StoreLost, StoreUnsure
from storage.store import Store
from tests.real.wire import Fate, Wire


@pytest.fixture
def url(maria_url):
    return maria_url()


@pytest.fixture
async def wire(maria):
    async with Wire(maria.port) as made:
        yield made


@pytest.fixture
def wired(url, wire):
    """The address of the same store over a wire that can be cut."""
    return str(url).replace(url.rpartition(":")[2].partition("/")[0], str(wire.port))


@pytest.fixture
async def far(wired, clock):
    store = await Store.open(wired, clock=clock)
    yield store
    await store.close()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(writer, "PAUSE_S", 0.01)
    monkeypatch.setattr(mariadb, "PAUSE_S", 0.01)


def note(text, runs=None):
    """A unit of three statements and a fact."""

    def unit(tx):
        if runs is not None:
            runs.append(text)
        alerts.raise_alert(tx, "info", text, "subject", text)
        tx.emit(WorkflowsAdded(ids=[1], reason=text))
        return text

    return unit


def once(nth, fate, *, of=lambda command: True):
    """The nth command of a kind meets this fate, all others pass."""
    counter = itertools.count()
    return lambda command: fate if of(command) and next(counter) == nth else Fate.PASS


def is_commit(command):
    return command == b"COMMIT"


def counts(outside):
    return (
        outside.rows("SELECT code, count FROM alert ORDER BY id"),
        outside.rows("SELECT count(*) FROM event")[0][0],
    )


@pytest.mark.feature("REL-09", "PA-009", "PA-022")
@pytest.mark.parametrize("fate", [Fate.LOST, Fate.UNANSWERED])
async def test_the_connection_is_lost_at_every_command_of_a_unit(far, wire, outside, fate):
    """From the first statement to the commit, and while connecting anew: the unit is there exactly once each time."""
    wire.commands.clear()
    assert await far.write(note("begin")) == "begin"
    statements = len(wire.commands)
    assert statements >= 5
    for nth in range(statements):
        wire.judge = once(nth, fate)
        assert await far.write(note(f"n{nth}")) == f"n{nth}"
    expected = ["begin", *(f"n{nth}" for nth in range(statements))]
    assert counts(outside) == ([(text, 1) for text in expected], len(expected))


@pytest.mark.feature("REL-09")
async def test_the_connection_is_lost_while_a_new_one_is_set_up(far, wire, outside):
    """Cut at the commit, and again at each command of what follows: set-up, lock, fence, the look for the commit."""
    wire.judge = once(0, Fate.UNANSWERED, of=is_commit)
    wire.commands.clear()
    await far.write(note("first"))
    after = len(wire.commands) - wire.commands.index(b"COMMIT") - 1
    assert after >= 5
    for nth in range(after):
        since_cut: list[bytes] = []

        def judge(command, nth=nth, since_cut=since_cut):
            if not since_cut and not is_commit(command):
                return Fate.PASS
            since_cut.append(command)
            if len(since_cut) == 1:
                return Fate.UNANSWERED
            return Fate.LOST if len(since_cut) == nth + 2 else Fate.PASS

        wire.judge = judge
        assert await far.write(note(f"n{nth}")) == f"n{nth}"
    expected = ["first", *(f"n{nth}" for nth in range(after))]
    assert counts(outside) == ([(text, 1) for text in expected], len(expected))


@pytest.mark.feature("REL-09", "PA-009")
async def test_the_answer_to_a_commit_is_looked_up(far, wire, outside):
    """Committed and not told: not run again. Not committed: run again. Never guessed."""
    runs = []
    wire.judge = once(0, Fate.UNANSWERED, of=is_commit)
    await far.write(note("told late", runs))
    assert runs == ["told late"]
    wire.judge = once(0, Fate.LOST, of=is_commit)
    await far.write(note("again", runs))
    assert runs == ["told late", "again", "again"]
    assert counts(outside) == ([("told late", 1), ("again", 1)], 2)


@pytest.mark.feature("REL-09")
async def test_a_commit_of_which_nothing_is_known_is_said_to_be_so(far, wire, outside, monkeypatch):
    monkeypatch.setattr(writer, "DOUBT_S", 0.1)

    def judge(command):
        wire.down = is_commit(command)
        return Fate.UNANSWERED if wire.down else Fate.PASS

    wire.judge = judge
    with pytest.raises(StoreUnsure, match="went away during a commit and has not come back"):
        await far.write(note("who knows"))
    with pytest.raises(StoreAway) as caught:
        await far.write(note("while away"))
    assert type(caught.value) is StoreAway
    wire.down, wire.judge = False, lambda command: Fate.PASS
    await far.write(note("back"))
    assert counts(outside) == ([("who knows", 1), ("back", 1)], 2)


@pytest.mark.feature("REL-09")
async def test_a_server_that_falls_silent_is_not_waited_for_for_ever(far, wire, outside, monkeypatch, caplog):
    monkeypatch.setattr(mariadb, "COMMIT_S", 0.3)
    monkeypatch.setattr(mariadb, "READ_S", 0.3)
    monkeypatch.setattr(mariadb_session, "CONNECT_S", 0.3)
    for nth, of in ((2, lambda command: True), (0, is_commit)):
        wire.judge = once(nth, Fate.SILENT, of=of)
        await far.write(note(f"silent {nth}"))
    for nth in range(8):  # while a connection is set up, and when it asks
        wire.judge = once(nth, Fate.SILENT)
        assert await far.read(log.last) == 2
    assert counts(outside) == ([("silent 2", 1), ("silent 0", 1)], 2)
    assert "has not answered for 0 s" in caplog.text


@pytest.mark.feature("REL-09")
async def test_questions_are_asked_again(far, wire):
    await far.write(note("a"))
    for fate in (Fate.LOST, Fate.UNANSWERED):
        wire.judge = once(0, fate, of=lambda command: b"FROM event" in command)
        assert await far.read(log.last) == 1
    wire.down, wire.judge = True, lambda command: Fate.LOST
    with pytest.raises(StoreAway, match=r"the store mysql://t\d+:\*\*\*@127.0.0.1:\d+/t\d+ cannot be read"):
        await far.read(log.last)
    wire.down, wire.judge = False, lambda command: Fate.PASS
    assert await far.read(log.last) == 1


@pytest.mark.feature("PA-022", "REL-09")
async def test_a_deadlock_has_the_whole_transaction_run_again(store, maria, url, outside):
    """The server undoes all of a transaction that it chose as the victim, the first unit of the group too."""
    runs = []
    outside.run("CREATE TABLE other (id INT PRIMARY KEY, x INT) ENGINE=InnoDB")
    outside.run("INSERT INTO other VALUES (1, 0), (2, 0)")
    rival = maria.connect(url.rpartition("/")[2])
    rival.autocommit(False)
    cursor = rival.cursor()
    cursor.execute("INSERT INTO other SELECT seq, 0 FROM seq_10_to_500")  # more rows: the lighter one is the victim
    cursor.execute("UPDATE other SET x = x + 10 WHERE id = 2")

    def cross():
        cursor.execute("UPDATE other SET x = x + 10 WHERE id = 1")
        rival.commit()

    def crossing(tx):
        runs.append("run")
        tx.connection.exec_driver_sql("UPDATE other SET x = x + 1 WHERE id = 1")
        if len(runs) == 1:
            thread.start()
            waits = "SELECT 1 FROM information_schema.innodb_lock_waits"
            with maria.connect() as look, look.cursor() as seen:
                while not seen.execute(waits):
                    look.commit()
        tx.connection.exec_driver_sql("UPDATE other SET x = x + 1 WHERE id = 2")

    thread = threading.Thread(target=cross)
    await asyncio.gather(store.write(note("with")), store.write(crossing))
    await asyncio.to_thread(thread.join)
    assert runs == ["run", "run"]
    assert outside.rows("SELECT x FROM other WHERE id < 3 ORDER BY id") == [(11,), (11,)]
    assert counts(outside) == ([("with", 1)], 1)
    rival.close()


@pytest.mark.feature("REL-09")
async def test_a_server_that_takes_no_writes(store, maria, outside):
    maria.run("SET GLOBAL read_only = 1")
    try:
        with pytest.raises(StoreAway, match="read-only"):
            await store.write(note("a"))
    finally:
        maria.run("SET GLOBAL read_only = 0")
    await store.write(note("b"))
    assert counts(outside) == ([("b", 1)], 1)


@pytest.mark.feature("REL-07")
async def test_a_holder_that_was_cut_off_and_robbed_cannot_write(far, wire, url, clock, outside):
    """As after a pause: its connection ended, another agent took the store, then it wakes."""
    await far.write(note("mine"))
    wire.down, wire.judge = True, lambda command: Fate.LOST
    with pytest.raises(StoreAway):
        await far.write(note("lost"))
    thief = await Store.open(url, clock=clock)
    wire.down, wire.judge = False, lambda command: Fate.PASS
    with pytest.raises(StoreLost, match="another process has taken it over"):
        await far.write(note("robbed"))
    await thief.write(note("theirs"))
    await thief.close()
    with pytest.raises(StoreLost):
        await far.write(note("still robbed"))
    assert counts(outside) == ([("mine", 1), ("theirs", 1)], 2)


@pytest.mark.feature("REL-09")
async def test_a_reader_that_is_cancelled_leaves_nothing_behind(store):
    """A question given up half way ends its connection; others are answered meanwhile and after."""
    for _ in range(8):
        slow = asyncio.create_task(store.read(lambda c: c.execute(sa.select(sa.func.sleep(20))).scalar_one()))
        assert await store.read(log.last) == 0
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
    assert await asyncio.gather(*(store.read(log.last) for _ in range(8))) == [0] * 8


@pytest.mark.feature("PA-022")
async def test_a_list_of_ids_is_found_by_its_index(store):
    """Also in an UPDATE and with thousands of ids, where MariaDB would read the whole table."""
    from storage.engine import among

    plans = []

    def explain(tx):
        rows = [
            {"level": "info", "code": str(n), "subject": "", "text": "", "first_at": 0, "last_at": 0}
            for n in range(20_000)
        ]
        tx.connection.execute(schema.alert.insert(), rows)
        tx.connection.exec_driver_sql("ANALYZE TABLE alert").close()
        for ids in (list(range(1, 50)), list(range(1, 2000))):
            change = schema.alert.update().where(among(schema.alert.c.id, ids)).values(count=2)
            text = str(change.compile(tx.connection, compile_kwargs={"render_postcompile": True}))
            values = (2, ids)
            plans.append(tx.connection.exec_driver_sql(f"EXPLAIN {text}", values).mappings().one())

    await store.write(explain)
    assert [(plan["select_type"], plan["type"], plan["key"]) for plan in plans] == [("SIMPLE", "range", "PRIMARY")] * 2

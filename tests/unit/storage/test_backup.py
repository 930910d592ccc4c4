"""Snapshots of a store at work, and a store put back from one."""

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from domain.job import JobState
from domain.rotation import kept
from storage import backup, jobs, laws, log, restoring
from storage.backup import check, rotate, snapshots, take
from storage.copying import tables
from storage.errors import StoreAway, StoreCorrupt, StoreError, StoreInUse
from storage.restoring import GAP, Unproven, restore
from storage.store import Store
from tests.stores.recording import dump

NOW = 1_795_000_000.0


@pytest.fixture
def places(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.mark.feature("OPS-16")
async def test_a_snapshot_of_a_store_at_work(url, store, campaign, clock, places):
    """Taken while somebody writes: it is one moment of the store, and the writer is not stopped."""
    await campaign.process()
    moments = []
    done = threading.Event()

    async def work() -> None:
        while not done.is_set():
            await store.write(lambda tx: log.begin(tx, f"s{len(moments)}"))
            moments.append(clock.now)

    writing = asyncio.create_task(work())
    made = await asyncio.to_thread(take, url, places, NOW)
    done.set()
    await writing
    assert moments, "the writer was stopped"
    assert (made.path.name, made.at, made.size) == ("store-20261118T110640Z.db", NOW, made.path.stat().st_size)
    assert sorted(path.name for path in places.iterdir()) == [made.path.name]
    with sqlite3.connect(made.path) as direct:
        counted = direct.execute("SELECT count(*) FROM cursor").fetchone()[0]
        assert direct.execute("SELECT count(*) FROM job").fetchone()[0] == 10
        assert direct.execute("PRAGMA journal_mode").fetchone()[0] == "delete"
    direct.close()
    assert counted <= len(moments)
    assert snapshots(places) == [made]


@pytest.mark.feature("OPS-16", "REL-06")
async def test_a_store_is_put_back(url, store, campaign, clock, places, path):
    await campaign.at_target()
    before = await store.read(dump)
    made = await asyncio.to_thread(take, url, places, NOW)
    await campaign.fail(await campaign.ids(JobState.ENDED))
    last = await store.read(log.last)
    target = f"sqlite:///{path.with_name('restored.db')}"
    done = await restore(made.path, target, clock=clock, remove_unknown=True)
    again = await Store.open(target, clock=clock)
    rows = await again.read(dump)
    for table in tables():
        if table.name != "restoration":
            assert rows[table.name] == before[table.name], table.name
    assert await again.read(restoring.unsettled) == done
    assert (done.event_id, done.remove_unknown, done.snapshot_at) == (max(r["id"] for r in before["event"]), True, NOW)
    await again.write(lambda tx: jobs.kill(tx, [1], "go on"))
    assert await again.read(log.last) == done.event_id + GAP + 1 > last
    assert await again.read(lambda c: laws.check(c, now=clock.now)) == []
    report = Unproven(ended={"A.batch": ["t"]}, unknown={"A": ["/store/x"]}, removed=1)
    await again.write(lambda tx: restoring.settle(tx, done, report))
    assert await again.read(restoring.unsettled) is None
    assert await again.read(restoring.last_report) == (clock.now, report)
    assert report.text.startswith("1 unknown attempts ended, 0 attempts on record gone and made again, 1 unknown files")
    await again.close()


@pytest.mark.feature("OPS-16", "REL-06")
async def test_what_is_there_is_put_aside_and_a_live_store_is_left_alone(tmp_path, clock, places):
    place = tmp_path / "agent.db"
    url = f"sqlite:///{place}"
    store = await Store.open(url, clock=clock)
    made = await asyncio.to_thread(take, url, places, NOW)
    content = place.read_bytes()
    with pytest.raises(StoreInUse, match=r"agent\.db is in use by process"):
        await restore(made.path, url, clock=clock)
    assert place.read_bytes() == content
    await store.write(lambda tx: log.begin(tx, "later"))
    await store.close()
    await restore(made.path, url, clock=clock)
    (aside,) = [path for path in tmp_path.iterdir() if ".lost-" in path.name and path.suffix != ".shm"]
    lost = sqlite3.connect(aside)
    assert lost.execute("SELECT subscriber FROM cursor").fetchall() == [("later",)]
    lost.close()
    again = await Store.open(url, clock=clock)
    assert await again.read(lambda c: log.position(c, "later")) is None
    await again.close()


@pytest.mark.feature("OPS-16", "REL-06")
async def test_a_snapshot_goes_back_into_an_empty_server(maria, url, store, campaign, clock, places):
    await campaign.process()
    made = await asyncio.to_thread(take, url, places, NOW)
    rows = await store.read(dump)
    target = maria.make()
    try:
        await restore(made.path, target, clock=clock)
        again = await Store.open(target, clock=clock)
        back = await again.read(dump)
        await again.close()
        assert all(len(back[table.name]) == len(rows[table.name]) for table in tables() if table.name != "restoration")
        with pytest.raises(StoreError, match="is not empty"):
            await restore(made.path, target, clock=clock)
    finally:
        maria.drop(target)
    assert [path.name for path in places.iterdir()] == [made.path.name]


@pytest.mark.feature("OPS-16")
@pytest.mark.parametrize(
    ("harm", "text"),
    [
        (lambda path: path.write_bytes(b"no database" * 1000), "cannot be read: file is not a database"),
        (lambda path: path.write_bytes(path.read_bytes()[:8192]), "(not sound|cannot be read)"),
        (lambda path: _change(path, "UPDATE attempt SET live = NULL"), "is not sound: job"),
        (lambda path: _change(path, "PRAGMA foreign_keys=OFF; DELETE FROM workflow"), "refers to a row of workflow"),
    ],
    ids=["other", "cut", "law", "reference"],
)
async def test_a_bad_snapshot_is_not_restored(tmp_path, campaign, url, store, clock, places, harm, text):
    await campaign.at_target()
    made = await asyncio.to_thread(take, url, places, NOW)
    harm(made.path)
    target = tmp_path / "target.db"
    with pytest.raises(StoreCorrupt, match=text):
        await restore(made.path, f"sqlite:///{target}", clock=clock)
    assert not target.exists()
    with pytest.raises(StoreError, match="there is no snapshot"):
        check(places / "store-20000101T000000Z.db", NOW)


def _change(path: Path, statements: str) -> None:
    direct = sqlite3.connect(path)
    direct.executescript(statements)
    direct.close()


@pytest.mark.feature("OPS-16", "REL-08")
async def test_no_snapshot_is_left_half_done(url, store, places, monkeypatch, tmp_path):
    (tmp_path / "plain").write_text("")
    with pytest.raises(StoreAway, match="no snapshot in"):
        take(url, tmp_path / "plain" / "backups", NOW)
    places.mkdir()
    (places / ".store-20200101T000000Z.db.part").write_text("of an earlier life")

    def broken(path: Path, now: float) -> int:
        assert path.exists()
        raise StoreCorrupt("not sound")

    monkeypatch.setattr(backup, "check", broken)
    with pytest.raises(StoreCorrupt):
        take(url, places, NOW)
    assert list(places.iterdir()) == []


@pytest.mark.feature("OPS-16")
def test_rotation(places):
    day = 86_400.0
    times = [day * 100 + quarter * 900 for quarter in range(96)] + [day * (100 - n) + 3600 for n in range(1, 20)]
    keep = kept(times, last=4, days=3)
    assert keep == {*(day * 100 + quarter * 900 for quarter in range(92, 96)), day * 99 + 3600, day * 98 + 3600}
    assert kept([], 4, 3) == set()
    assert kept([1.0], 1, 0) == {1.0}
    places.mkdir()
    for name in ("store-20261118T110640Z.db", "store-20261118T120640Z.db", "store-20261117T110640Z.db", "mine.db"):
        (places / name).touch()
    assert [path.name for path in rotate(places, 1, 2)] == ["store-20261118T110640Z.db"]
    assert len(list(places.iterdir())) == 3


@pytest.mark.feature("REL-06")
def test_sandboxes_are_kept_once(tmp_path):
    source, target = tmp_path / "a", tmp_path / "b"
    source.mkdir()
    (source / "1.tar.gz").write_text("x")
    assert backup.keep_sandboxes(source, target) == 1
    assert backup.keep_sandboxes(source, target) == 0
    assert (target / "1.tar.gz").read_text() == "x"
    assert len(list(target.iterdir())) == 1


async def test_tokens_of_strangers(store, campaign):
    await campaign.at_target(2)
    assert await store.read(lambda c: restoring.strangers(c, ["w-1", "x", "w-2", *map(str, range(600))])) == [
        "x",
        *map(str, range(600)),
    ]

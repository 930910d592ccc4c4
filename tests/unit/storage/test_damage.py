"""A damaged SQLite file is found at the start, or while the agent works, and room is given back bit by bit."""

import sqlite3
import threading
from pathlib import Path

import pytest

from storage import alerts, laws, schema
from storage.engines.sqlite import look_through
from storage.errors import StoreAway, StoreCorrupt
from storage.space import give_back, space
from storage.store import Store


def spoil(path: Path, index: str) -> None:
    """Overwrite the first page of an index: rows are all there, and cannot be found by it."""
    direct = sqlite3.connect(path)
    direct.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    (page,) = direct.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (index,)).fetchone()
    (size,) = direct.execute("PRAGMA page_size").fetchone()
    direct.close()
    content = bytearray(path.read_bytes())
    content[(page - 1) * size : page * size] = bytes(size)
    path.write_bytes(content)


@pytest.fixture
async def filled(path: Path) -> Path:
    store = await Store.open(f"sqlite:///{path}")
    for number in range(200):
        await store.write(lambda tx, n=number: alerts.raise_alert(tx, "info", "x", str(n), ""))
    await store.close()
    return path


@pytest.mark.feature("REL-09")
async def test_a_damaged_file_does_not_start(filled: Path) -> None:
    spoil(filled, "sqlite_autoindex_alert_1")
    with pytest.raises(StoreCorrupt, match=r"restore it from a backup"):
        await Store.open(f"sqlite:///{filled}")


@pytest.mark.feature("REL-09")
async def test_a_look_that_takes_too_long_is_ended(filled: Path) -> None:
    """A large file must not hold up the start; the agent reads all of it while it works."""
    spoil(filled, "sqlite_autoindex_alert_1")
    direct = sqlite3.connect(filled, check_same_thread=False)
    reading, interrupted = threading.Event(), threading.Event()

    def step():
        reading.set()
        interrupted.wait(10.0)

    class Slow:
        """Goes on only once it was interrupted, as in a file of many pages."""

        def execute(self, statement):
            direct.set_progress_handler(step, 1)
            return direct.execute(statement)

        def interrupt(self):
            reading.wait(10.0)
            direct.interrupt()
            interrupted.set()

    look_through(Slow(), seconds=0.0)
    assert interrupted.is_set()
    direct.set_progress_handler(None, 0)
    assert direct.execute("SELECT 1").fetchone() == (1,)
    direct.close()


@pytest.mark.feature("PA-018")
async def test_free_room_is_given_back_in_steps(path: Path) -> None:
    store = await Store.open(f"sqlite:///{path}")
    rows = [
        {"level": "info", "code": str(n), "subject": "", "text": "x" * 500, "first_at": 0, "last_at": 0}
        for n in range(20_000)
    ]
    await store.write(lambda tx: tx.connection.execute(schema.alert.insert(), rows))
    full = await store.read(space)
    assert (full.shrinks, full.free < full.size / 10) == (True, True)
    await store.write(lambda tx: tx.connection.execute(schema.alert.delete()))
    freed = await store.read(space)
    assert freed.size == full.size
    assert freed.free > full.size / 2
    keep = 1_000_000
    first = await store.write(lambda tx: give_back(tx, keep, 100))
    assert first == 100
    while await store.write(lambda tx: give_back(tx, keep)):
        pass
    rest = await store.read(space)
    assert keep - 8192 <= rest.free <= keep + 8192
    assert rest.size < full.size / 2
    assert await store.read(laws.damaged) == []
    await store.close()
    assert path.stat().st_size == rest.size


@pytest.mark.feature("PA-018")
async def test_room_on_any_database_is_told(store) -> None:
    found = await store.read(space)
    assert found.size > 0
    assert await store.write(lambda tx: give_back(tx, 10**12)) == 0


@pytest.mark.feature("OPS-10")
async def test_a_store_that_is_held_takes_nothing(store) -> None:
    store.hold("the disk is full")
    with pytest.raises(StoreAway, match="the disk is full"):
        await store.write(lambda tx: None)
    assert await store.read(lambda c: 1) == 1
    store.free()
    assert await store.write(lambda tx: 2) == 2

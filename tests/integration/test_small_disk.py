"""A real file system that is really full: the agent stops in steps, nothing is corrupted, and it goes on by itself."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.brakes import Work
from actors.guard import used_percent
from actors.messages import Refused, Wake
from domain import events as e
from storage import alerts, laws
from storage.engines.sqlite import look_through
from storage.errors import StoreAway
from storage.store import Store
from tests.integration.agent import running, workflow

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root may mount; test_keeping.py has it with a told disk"
)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 24 MB."""
    place = tmp_path / "state"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "none", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path, percent: float) -> None:
    """Let a file take so much that the disk is at least so full."""
    with (disk / "other").open("ab", buffering=0) as sink:
        while used_percent(disk) < percent:
            try:
                sink.write(bytes(100_000))
            except OSError:
                return


@pytest.mark.feature("OPS-10", "REL-08")
async def test_the_agent_on_a_disk_that_fills(tmp_path: Path, disk: Path) -> None:
    async with running(tmp_path, more="\n[backup]\nenabled = false\n") as agent:
        guard = agent.system.ref("guard")
        await guard.ask(Wake())
        assert agent.world.brakes.held(Work.INTAKE) == ""
        fill(disk, 86.0)
        await guard.ask(Wake())
        with pytest.raises(Refused, match="no new work is taken on now"):
            await agent.submit(workflow())
        fill(disk, 98.5)
        await guard.ask(Wake())
        with pytest.raises(StoreAway, match="nor is anything written"):
            await agent.world.store.write(lambda tx: None)
        (disk / "other").unlink()
        await guard.ask(Wake())
        assert agent.world.brakes.held(Work.SUBMISSION) == ""
        await agent.submit(workflow())
        await agent.fact(e.WorkflowsCompleted).reached()
        assert await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time())) == []


@pytest.mark.feature("REL-08", "REL-09")
async def test_a_store_whose_disk_is_full_goes_on_when_there_is_room(disk: Path) -> None:
    """Without a guard: each write is whole or not there, says why it is not, and the next one may succeed."""
    store = await Store.open(f"sqlite:///{disk}/agent.db")
    fill(disk, 100.0)
    written: list[str] = []

    async def write_on() -> None:
        for number in range(1000):
            text = f"{number}" + "x" * 100_000
            await store.write(lambda tx, n=number, t=text: alerts.raise_alert(tx, "info", "x", str(n), t))
            written.append(str(number))

    with pytest.raises(StoreAway, match=r"full|I/O"):
        await write_on()
    assert {alert.subject for alert in await store.read(alerts.open_alerts)} == set(written)
    (disk / "other").unlink()
    await store.write(lambda tx: alerts.raise_alert(tx, "info", "x", "again", ""))
    assert {alert.subject for alert in await store.read(alerts.open_alerts)} == {*written, "again"}
    await store.read(lambda c: look_through(c.connection.driver_connection, 10.0))
    await store.close()

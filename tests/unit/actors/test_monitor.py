"""The proof of the books beside the work: law by law, with time in between, told when it ends."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from actors import monitor
from actors.messages import RaiseAlert, Wake
from actors.monitor import Monitor
from actors.world import World
from config.settings import Settings
from domain.ranges import Range
from domain.spec import Step, WorkflowSpec
from storage import alerts, allocations, laws, workflows
from storage.sandboxes import Sandboxes
from storage.store import Store
from supervisors import ActorRef, ActorSystem, ChildSpec, SupervisorSpec, SystemClock

NAMES = [law.name for law in laws.LAWS]


class Office(msgspec.Struct):
    """A monitor over a store, and the laws that it has asked so far."""

    store: Store
    ref: ActorRef[Any]
    asked: list[str]

    async def look(self, times: int = 1) -> None:
        for _ in range(times):
            await self.ref.ask(Wake())

    async def broken(self) -> list[str]:
        return [alert.text for alert in await self.store.read(alerts.open_alerts) if alert.code == "law-broken"]


Open = Callable[..., Any]


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    asked: list[str] = []
    prove = laws.prove

    def noted(connection: sa.Connection, law: laws.Law, **more: Any) -> Any:
        asked.append(law.name)
        return prove(connection, law, **more)

    monkeypatch.setattr(laws, "prove", noted)

    @asynccontextmanager
    async def opened(every_s: float, pause_s: float = 0.0) -> AsyncIterator[Office]:
        monkeypatch.setattr(monitor, "PAUSE_S", pause_s)
        store = await Store.open(f"sqlite:///{tmp_path}/agent.db")
        tables = {"agent": {"name": "here"}, "monitor": {"verify_every_s": every_s, "sweep_s": 3600.0}}
        world = World(msgspec.convert(tables, Settings), store, SystemClock(), Sandboxes(tmp_path), {}, {}, {}, {})
        system = ActorSystem(SupervisorSpec("root", (ChildSpec("monitor", partial(Monitor, world)),)))
        await system.start()
        try:
            yield Office(store, system.ref("monitor"), asked)
        finally:
            await system.stop(drain=0)
            await store.close()

    return opened


async def spoil(store: Store) -> None:
    """Make a workflow, and break a law."""

    def unit(tx: Any) -> None:
        spec = WorkflowSpec(name="mc", events=100, events_per_job=10, steps=[Step(command=["true"])])
        owner, _ = workflows.add(tx, spec, name="mc", sandbox="", events=100)
        allocations.acquire(tx, owner, "local:mc", Range(1, 100))
        tx.connection.exec_driver_sql("UPDATE allocation SET cut_events = 50")

    await store.write(unit)


@pytest.mark.feature("REL-10")
async def test_the_books_are_proved_law_by_law_and_what_is_wrong_is_told_at_the_end(office: Open) -> None:
    async with office(every_s=0.001) as place:
        await spoil(place.store)
        await place.look(len(NAMES) - 1)
        assert place.asked[: len(NAMES) - 1] == NAMES[:-1]
        while len(place.asked) < len(NAMES):
            await place.look()
        await place.look()
        assert any("cut" in text for text in await place.broken())


async def test_between_two_laws_the_monitor_does_its_other_work(office: Open) -> None:
    async with office(every_s=0.001, pause_s=3600.0) as place:
        await place.look(3)
        assert place.asked == NAMES[:1]
        await place.ref.ask(RaiseAlert(level="error", code="told", subject="x", text="between"))
        assert [alert.code for alert in await place.store.read(alerts.open_alerts)] == ["told"]


async def test_an_agent_that_starts_is_left_alone_for_a_minute(office: Open) -> None:
    async with office(every_s=3600.0) as place:
        await place.look(3)
        assert place.asked == []

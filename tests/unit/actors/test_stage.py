"""What a stage does with a fact that its handler cannot get done with: the others go on."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from actors.stage import Effect, Stage
from actors.world import World
from config.settings import Agent, Events, Settings
from domain.events import JobsCreated
from storage import alerts, log
from storage.log import Logged
from storage.sandboxes import Sandboxes
from storage.store import Store, Tx
from supervisors import ActorSystem, ChildSpec, Strategy, SupervisorSpec, SystemClock
from supervisors.testing import Signal


class Counter(Stage):
    """Counts jobs; hangs at fact `hang_at`."""

    follows = (JobsCreated,)
    hang_at = 0

    def __init__(self, world: World, tried: Signal) -> None:
        super().__init__(world)
        self.tried = tried

    async def on_fact(self, logged: Logged) -> Effect:
        self.tried.fire()
        if logged.id == self.hang_at:
            await asyncio.Event().wait()
        return lambda tx: alerts.raise_alert(tx, "info", "seen", str(logged.fact.ids[0]), "")


class Hangs(Counter):
    hang_at = 2


class Adder(Counter):
    """Counts jobs, several facts at once; hangs with fact `hang_at` in hand, cannot write the effect of fact `bad`."""

    bad = 0

    async def on_facts(self, facts: Sequence[Logged]) -> Effect:
        self.tried.fire()
        if any(logged.id == self.hang_at for logged in facts):
            await asyncio.Event().wait()

        def add(tx: Tx) -> None:
            for logged in facts:
                if logged.id == self.bad:
                    raise ValueError(f"fact {logged.id} does not fit")
                alerts.raise_alert(tx, "info", "seen", str(logged.fact.ids[0]), f"with {len(facts)}")

        return add

    async def on_fact(self, logged: Logged) -> Effect:
        return await self.on_facts([logged])


class Spoiled(Adder):
    bad = 2


class Stuck(Adder):
    hang_at = 2


@asynccontextmanager
async def counting(
    store: Store, directory: Path, kind: type[Counter], tried: Signal, *, handler_s: float
) -> AsyncIterator[None]:
    """A system of one stage; leaving it ends the stage whatever it has in hand, as a kill does."""
    events = Events(sweep_s=60.0, handler_s=handler_s, redelivery_s=(0.05, 3600.0))
    settings = Settings(agent=Agent(name="test"), events=events)
    clock = SystemClock()
    world = World(
        settings=settings,
        store=store,
        clock=clock,
        sandboxes=Sandboxes(directory),
        batches={},
        storages={},
        stage_out={},
        managers={},
    )
    spec = SupervisorSpec(
        "root", (ChildSpec("counter", lambda: kind(world, tried), shutdown=0.05),), Strategy.ONE_FOR_ONE, 100, 1.0
    )
    system = ActorSystem(spec, clock=clock)
    store.listen(world.tell_hearers)
    await system.start()
    try:
        yield
    finally:
        await system.stop(drain=0.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await Store.open(f"sqlite:///{tmp_path}/agent.db")
    for number in (1, 2, 3):
        await opened.write(lambda tx, number=number: tx.emit(JobsCreated(ids=[number])))
    yield opened
    await opened.close()


async def seen(store: Store) -> list[str]:
    return sorted(alert.subject for alert in await store.read(alerts.open_alerts))


async def parked(store: Store) -> list[tuple[int, int]]:
    return [(item.event_id, item.tries) for item in await store.read(log.parked_facts)]


@pytest.mark.feature("PA-012", "REL-03")
async def test_a_handler_that_hangs_is_cut_short_and_its_fact_put_aside(store: Store, tmp_path: Path) -> None:
    tried = Signal()
    async with counting(store, tmp_path, Hangs, tried, handler_s=0.05):
        await tried.reached(4)  # three facts and a second try of the one that hangs
    assert await seen(store) == ["1", "3"]
    assert await parked(store) == [(2, 2)]


@pytest.mark.feature("PA-012", "REL-03")
async def test_a_fact_that_ends_the_process_is_put_aside_and_redelivered_alone(store: Store, tmp_path: Path) -> None:
    """Lives 1 to 3 end with fact 2 in hand, each try counted; life 4 sees the others before it."""
    for life in range(3):
        tried = Signal()
        async with counting(store, tmp_path, Hangs, tried, handler_s=3600.0):
            await tried.reached(2 if life == 0 else 1)
        assert await seen(store) == ["1"]
    tried = Signal()
    async with counting(store, tmp_path, Hangs, tried, handler_s=3600.0):
        await tried.reached(2)  # fact 3, then fact 2 again from where it was put aside
        assert await seen(store) == ["1", "3"]
    assert await parked(store) == [(2, 2)]
    tried = Signal()
    async with counting(store, tmp_path, Counter, tried, handler_s=3600.0):
        await store.write(lambda tx: log.replay(tx, [item.id for item in log.parked_facts(tx.connection)]))
        await store.write(lambda tx: tx.emit(JobsCreated(ids=[4])))
        await tried.reached(2)
    assert await seen(store) == ["1", "2", "3", "4"]
    assert await parked(store) == []


@pytest.mark.feature("PA-012")
async def test_facts_that_are_handled_together_share_a_commit(store: Store, tmp_path: Path) -> None:
    tried = Signal()
    commits = store.commits
    async with counting(store, tmp_path, Adder, tried, handler_s=3600.0):
        await tried.reached(1)
    assert tried.count == 1
    assert store.commits == commits + 2  # the cursor's beginning, and all three facts
    assert {(alert.subject, alert.text, alert.times) for alert in await store.read(alerts.open_alerts)} == {
        ("1", "with 3", 1),
        ("2", "with 3", 1),
        ("3", "with 3", 1),
    }
    assert await store.read(lambda c: log.position(c, "counter")) == 3


@pytest.mark.feature("PA-012", "REL-03")
async def test_a_bad_fact_among_several_is_put_aside_and_the_others_have_their_effect_once(
    store: Store, tmp_path: Path
) -> None:
    tried = Signal()
    async with counting(store, tmp_path, Spoiled, tried, handler_s=3600.0):
        await tried.reached(5)  # all three, each of them, and the bad one again
        await store.write(lambda tx: tx.emit(JobsCreated(ids=[4])))
        await store.write(lambda tx: tx.emit(JobsCreated(ids=[5])))
        await tried.reached(6)
    told = {alert.subject: alert.times for alert in await store.read(alerts.open_alerts)}
    assert {"1": 1, "3": 1}.items() <= told.items()
    assert "2" not in told
    assert await parked(store) == [(2, 2)]


@pytest.mark.feature("PA-012", "REL-03")
async def test_facts_that_ended_the_process_together_are_handled_alone_from_the_second_start(
    store: Store, tmp_path: Path
) -> None:
    """Lives 1 and 2 end with all facts in hand, lives 3 to 5 with fact 2; life 6 puts it aside."""
    for life in range(5):
        tried = Signal()
        async with counting(store, tmp_path, Stuck, tried, handler_s=3600.0):
            await tried.reached(2 if life == 2 else 1)
        assert await seen(store) == ([] if life < 2 else ["1"])
    tried = Signal()
    async with counting(store, tmp_path, Stuck, tried, handler_s=3600.0):
        await tried.reached(2)  # fact 3, then fact 2 again from where it was put aside
    assert await seen(store) == ["1", "3"]
    assert [event for event, _ in await parked(store)] == [2]


@pytest.mark.feature("PA-003")
async def test_a_long_backlog_is_worked_off_in_several_messages(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.stage.ROUND_S", -1.0)  # the time of each look is over before its first fact
    tried = Signal()
    async with counting(store, tmp_path, Counter, tried, handler_s=3600.0):
        await store.write(lambda tx: tx.emit(JobsCreated(ids=[4])))
        monkeypatch.setattr("actors.stage.ROUND_S", 5.0)
        await tried.reached(4)
    assert await seen(store) == ["1", "2", "3", "4"]


def test_defaults_leave_a_handler_less_time_than_its_actor_has() -> None:
    settings = msgspec.convert({"agent": {"name": "x"}}, Settings)
    assert settings.events.handler_s < settings.supervision.handler_deadline_s

"""The event log: exactly once for whoever keeps a cursor, aside for what fails, history for each item."""

import pytest

from domain.events import JobsCreated, JobsEnded, JobsKilled, WorkflowsAdded, WorkflowsPaused
from storage import alerts, log
from storage.store import Store

PAUSES = [1.0, 5.0, 30.0]


async def emit(store, *facts):
    for fact in facts:
        await store.write(lambda tx, fact=fact: tx.emit(fact))


class Subscriber:
    """Counts jobs; can be made to die after its transaction or to fail at a fact."""

    def __init__(self, store, name="counter", types=(JobsCreated, JobsEnded)):
        self.store, self.name, self.types = store, name, types
        self.position = 0
        self.fail_at: set[int] = set()

    async def start(self):
        self.position = await self.store.write(lambda tx: log.begin(tx, self.name))

    async def round(self, limit=2):
        facts = await self.store.read(lambda c: log.after(c, self.position, self.types, limit))
        for logged in facts:
            await self.take(logged)
            self.position = logged.id
        return len(facts)

    async def take(self, logged, parked=False):
        def done(tx):
            if logged.id in self.fail_at:
                raise ValueError(f"cannot take {logged.id}")
            for identity in logged.fact.ids:
                alerts.raise_alert(tx, "info", "seen", str(identity), "")
            if parked:
                log.unpark(tx, self.name, logged.id)
            log.advance(tx, self.name, logged.id)

        def aside(tx):
            log.park(tx, self.name, logged.id, "Traceback: cannot", PAUSES)
            log.advance(tx, self.name, logged.id)

        try:
            await self.store.write(done)
        except ValueError:
            await self.store.write(aside)

    async def parked(self, now):
        for logged in await self.store.read(lambda c: log.due(c, self.name, now, 10)):
            await self.take(logged, parked=True)


async def seen(store):
    return {alert.subject: alert.times for alert in await store.read(alerts.open_alerts)}


@pytest.mark.feature("PA-007", "PA-008")
async def test_effects_exactly_once_over_restarts(url, clock):
    store = await Store.open(url, clock=clock)
    await emit(store, JobsCreated(ids=[1, 2]), WorkflowsAdded(ids=[1]), JobsEnded(ids=[3]), JobsCreated(ids=[4]))
    for _ in range(4):
        subscriber = Subscriber(store)
        await subscriber.start()
        await subscriber.round(limit=1)
        await store.close()
        store = await Store.open(url, clock=clock)
    assert await seen(store) == {"1": 1, "2": 1, "3": 1, "4": 1}
    assert await store.read(lambda c: log.position(c, "counter")) == 4
    await store.close()


@pytest.mark.feature("PA-008")
async def test_effect_and_cursor_are_one(store):
    """Effects that were undone leave the cursor where it was."""
    await emit(store, JobsCreated(ids=[1]))
    await store.write(lambda tx: log.begin(tx, "s"))

    def torn(tx):
        alerts.raise_alert(tx, "info", "seen", "1", "")
        log.advance(tx, "s", 1)
        raise RuntimeError("killed here")

    with pytest.raises(RuntimeError):
        await store.write(torn)
    assert await store.read(lambda c: log.position(c, "s")) == 0
    assert await seen(store) == {}


async def test_a_cursor_never_goes_back(store):
    await store.write(lambda tx: log.begin(tx, "s"))
    await store.write(lambda tx: log.advance(tx, "s", 9))
    await store.write(lambda tx: log.advance(tx, "s", 4))
    assert await store.write(lambda tx: log.begin(tx, "s")) == 9
    assert await store.read(lambda c: log.position(c, "nobody")) is None


async def test_subscribers_do_not_disturb_each_other(store):
    await emit(store, JobsCreated(ids=[1]), JobsEnded(ids=[2]))
    one, two = Subscriber(store, "one", (JobsCreated,)), Subscriber(store, "two", (JobsEnded,))
    for subscriber in (one, two):
        await subscriber.start()
        while await subscriber.round():
            pass
    assert (one.position, two.position) == (1, 2)
    assert await seen(store) == {"1": 1, "2": 1}


@pytest.mark.feature("PA-012")
async def test_a_failing_fact_is_parked_with_growing_pauses_then_a_dead_letter(store, clock):
    await emit(store, JobsCreated(ids=[1]), JobsCreated(ids=[2]), JobsCreated(ids=[3]))
    subscriber = Subscriber(store)
    await subscriber.start()
    subscriber.fail_at = {2}
    while await subscriber.round():
        pass
    assert await seen(store) == {"1": 1, "3": 1}, "one bad fact never blocks the next"
    for tries, pause in enumerate(PAUSES, start=1):
        (aside,) = await store.read(log.parked_facts)
        assert (aside.tries, aside.next_at, aside.event_id) == (tries, clock.now + pause, 2)
        await subscriber.parked(clock.now + pause - 0.1)
        assert (await store.read(log.parked_facts))[0].tries == tries, "not before its time"
        clock.wind(pause)
        await subscriber.parked(clock.now)
    (dead,) = await store.read(lambda c: log.parked_facts(c, dead_only=True))
    assert (dead.tries, dead.next_at, dead.error, dead.type) == (4, None, "Traceback: cannot", "JobsCreated")
    await subscriber.parked(clock.now + 10**9)
    assert len(await store.read(log.parked_facts)) == 1, "never deleted, never tried by itself"


@pytest.mark.feature("PA-012", "PA-014")
async def test_a_dead_letter_can_be_replayed(store, clock):
    await emit(store, JobsCreated(ids=[1]))
    subscriber = Subscriber(store)
    await subscriber.start()
    await store.write(lambda tx: log.park(tx, "counter", 1, "no", []))
    (dead,) = await store.read(lambda c: log.parked_facts(c, dead_only=True))
    assert await store.write(lambda tx: log.replay(tx, [dead.id, 77])) == 1
    await subscriber.parked(clock.now)
    assert await store.read(log.parked_facts) == []
    assert await seen(store) == {"1": 1}


@pytest.mark.feature("PA-012")
async def test_a_replayed_fact_has_all_its_tries_again(store, clock):
    await emit(store, JobsCreated(ids=[1]))
    subscriber = Subscriber(store)
    await subscriber.start()
    subscriber.fail_at = {1}
    await store.write(lambda tx: log.park(tx, "counter", 1, "no", []))
    (dead,) = await store.read(log.parked_facts)
    await store.write(lambda tx: log.replay(tx, [dead.id]))
    await subscriber.parked(clock.now)
    (aside,) = await store.read(log.parked_facts)
    assert (aside.tries, aside.next_at) == (1, clock.now + PAUSES[0])


@pytest.mark.feature("PA-018", "PA-014")
async def test_history_by_item(store):
    await emit(
        store,
        JobsCreated(ids=[1, 5, 9]),
        JobsEnded(ids=[5]),
        JobsKilled(ids=[1, 9], reason="on command"),
        WorkflowsAdded(ids=[5]),
        JobsEnded(ids=[6]),
    )
    assert [type(logged.fact) for logged in await store.read(lambda c: log.history(c, "job", 5))] == [
        JobsCreated,
        JobsEnded,
    ]
    (made, killed) = await store.read(lambda c: log.history(c, "job", 9))
    assert killed.fact.reason == "on command"
    assert made.id < killed.id
    assert await store.read(lambda c: log.history(c, "job", 4)) == []


async def test_facts_come_in_the_order_of_their_commits(store):
    def several(tx):
        tx.emit(WorkflowsAdded(ids=[1]))
        tx.emit(WorkflowsPaused(ids=[1]))

    await store.write(several)
    await emit(store, WorkflowsAdded(ids=[2]))
    facts = await store.read(lambda c: log.after(c, 0, [WorkflowsAdded, WorkflowsPaused], 10))
    assert [(logged.id, logged.fact.ids) for logged in facts] == [(1, [1]), (2, [1]), (3, [2])]
    assert await store.read(log.last) == 3
    assert await store.read(lambda c: log.after(c, 3, [WorkflowsAdded], 10)) == []

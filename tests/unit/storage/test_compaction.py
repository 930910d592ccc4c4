"""Compaction: old facts give way to what they add up to, nobody misses one, and law 8 is proved all the same."""

import pytest
import sqlalchemy as sa

from domain.events import JobsCreated, JobsEnded, JobsSucceeded
from domain.job import JOB_TABLE, JobState
from storage import alerts, baseline, jobs, laws, log, schema
from storage.compaction import Refused, compact, plan

FOREVER = 9e12
JOB_WORDS = ["absent", *map(str, JobState)]


async def run(store, before=FOREVER, most=7):
    """Compact in small steps to the end; return the facts that went."""
    gone = 0
    while True:
        step = await store.write(lambda tx: compact(tx, before, most))
        gone += step.facts
        if not step.more:
            return gone


async def facts(store):
    return await store.read(lambda c: c.execute(sa.select(sa.func.count()).select_from(schema.event)).scalar_one())


async def corrupt(store, statement):
    await store.write(lambda tx: tx.connection.execute(sa.text(statement)))


@pytest.mark.feature("PA-018", "REL-10")
async def test_the_fold_is_kept(store, campaign):
    """Compacted at any point, in any number of steps: the laws hold, and go on to hold."""
    await campaign.process()
    first = await run(store)
    assert first > 0
    assert await facts(store) == 0
    assert await campaign.breaches() == []
    await campaign.merge_all()
    await run(store, most=1)
    await campaign.catalogue()
    await campaign.deliver()
    assert await campaign.breaches() == []
    await campaign.close()
    await campaign.remove()
    await run(store)
    assert await facts(store) == 0
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-018", "REL-10")
@pytest.mark.parametrize(
    "change",
    [
        "UPDATE job SET state = 'running' WHERE id = 3",
        "UPDATE job SET version = version + 1 WHERE id = 3",
        "UPDATE job SET version = version - 1 WHERE id = 3",
        "UPDATE file SET state = 'merged' WHERE id = 1",
        "DELETE FROM folded WHERE entity = 'job'",
        "DELETE FROM folded WHERE entity = 'allocation'",
        "UPDATE folded SET states = x'00' WHERE entity = 'job'",
        "UPDATE folded SET words = '[\"absent\",\"gone\"]' WHERE entity = 'job'",
    ],
)
async def test_a_compacted_log_still_convicts(store, campaign, change):
    await campaign.process()
    await run(store)
    await campaign.request()
    assert [breach for breach in await campaign.breaches() if breach.law == "fold"] == []
    await corrupt(store, change)
    assert [breach for breach in await campaign.breaches() if breach.law == "fold"] != []


@pytest.mark.feature("PA-018", "REL-10")
async def test_a_fact_that_is_counted_twice_is_seen(store, campaign):
    await campaign.process()
    await store.write(lambda tx: tx.connection.execute(schema.horizon.insert().values(id=1, event_id=3, at=0.0)))
    texts = [breach.text for breach in await campaign.breaches() if breach.law == "fold"]
    assert texts == ["is still there and counted below the horizon 3 too"] * 3


@pytest.mark.feature("PA-018")
async def test_what_is_young_stays(store, campaign, clock):
    await campaign.at_target()
    then = clock.now
    clock.wind(100 * 86400)
    young = await facts(store)
    await campaign.fail(await campaign.ids(JobState.ENDED))
    before = clock.now - 90 * 86400
    found = await store.read(lambda c: plan(c, before))
    assert (found.facts, found.held_by) == (young, "age")
    assert found.bytes > 0
    assert found.oldest_at is not None
    assert found.oldest_at < then
    assert await run(store, before) == young
    assert await run(store, before) == 0
    assert await facts(store) == 1
    assert (await store.read(baseline.reached)).event_id == young


@pytest.mark.feature("PA-007", "PA-018")
async def test_a_subscriber_that_was_off_gets_everything(store, campaign):
    await store.write(lambda tx: log.begin(tx, "counter"))
    await campaign.process()
    everything = await store.read(lambda c: log.after(c, 0, [JobsCreated, JobsEnded], 10_000))
    found = await store.read(lambda c: plan(c, FOREVER))
    assert (found.facts, found.held_by) == (0, "subscriber counter, which has read up to 0")
    assert await run(store) == 0
    assert await store.read(lambda c: log.after(c, 0, [JobsCreated, JobsEnded], 10_000)) == everything
    half = everything[len(everything) // 2].id
    await store.write(lambda tx: log.advance(tx, "counter", half))
    assert await run(store) == half
    rest = [logged for logged in everything if logged.id > half]
    assert await store.read(lambda c: log.after(c, half, [JobsCreated, JobsEnded], 10_000)) == rest


@pytest.mark.feature("PA-012", "PA-018")
@pytest.mark.parametrize(("pauses", "kind"), [([1e9], "parked fact"), ([], "dead letter")])
async def test_what_is_parked_stays_and_can_be_handed_out(store, campaign, pauses, kind):
    await campaign.process()
    await store.write(lambda tx: log.park(tx, "counter", 3, "no", pauses))
    assert (await store.read(lambda c: plan(c, FOREVER))).held_by == f"{kind} 3 of counter"
    assert await run(store) == 2
    (aside,) = await store.read(log.parked_facts)
    await store.write(lambda tx: log.replay(tx, [aside.id]))
    (due,) = await store.read(lambda c: log.due(c, "counter", FOREVER, 10))
    assert due.id == 3
    await store.write(lambda tx: log.unpark(tx, "counter", 3))
    await run(store)
    assert await facts(store) == 0
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-018")
async def test_ids_are_never_given_again(store, campaign):
    """A subscriber's keys outside the store are the ids of facts."""
    await campaign.at_target()
    last = await store.read(log.last)
    await run(store)
    assert await store.read(log.last) == last
    assert await store.write(lambda tx: log.begin(tx, "new", from_now=True)) == last
    await campaign.fail(await campaign.ids(JobState.ENDED))
    assert await store.read(log.last) == last + 1


@pytest.mark.feature("PA-018")
async def test_the_summary_says_who_did_what_on_which_day(store, campaign, clock):
    await campaign.whole()
    day = int(clock.now // 86400)
    counted = sa.select(schema.event.c.type, sa.func.count()).group_by(schema.event.c.type)
    succeeded = await store.read(lambda c: log.after(c, 0, [JobsSucceeded], 1000))
    expected = dict(await store.read(lambda c: [tuple(row) for row in c.execute(counted)]))
    await run(store)
    rows = await store.read(lambda c: list(c.execute(sa.select(schema.daily)).mappings()))
    assert {row["type"]: row["facts"] for row in rows} == expected
    assert {(row["day"], row["sender"]) for row in rows} == {(day, "test")}
    assert {row["type"]: row["items"] for row in rows}[JobsSucceeded.__name__] == sum(
        len(logged.fact.ids) for logged in succeeded
    )


@pytest.mark.feature("PA-018")
async def test_what_is_left_of_an_items_history(store, campaign):
    await campaign.process()
    (version,) = await store.read(
        lambda c: list(c.execute(sa.select(schema.job.c.version).where(schema.job.c.id == 4)).scalars())
    )
    assert await store.read(lambda c: baseline.of_item(c, "job", JOB_WORDS, 4)) is None
    await run(store)
    left = await store.read(lambda c: baseline.of_item(c, "job", JOB_WORDS, 4))
    assert (left.state, left.moves) == ("accounted", version + 1)
    assert await store.read(lambda c: baseline.of_item(c, "job", JOB_WORDS, 4000)) is None


@pytest.mark.feature("PA-018", "REL-10")
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            "UPDATE event SET type = 'JobsCleaned' WHERE id = 5",
            r"fact 5 \(JobsCleaned\) is not allowed for job 1 in state new",
        ),
        ("UPDATE event SET type = 'Forgotten' WHERE id = 5", "fact 5 is of the unknown type 'Forgotten'"),
        ("UPDATE event SET body = '{}' WHERE id = 5", r"fact 5 \(\w+\) cannot be read"),
    ],
)
async def test_a_log_that_does_not_add_up_is_kept(store, campaign, change, text):
    await campaign.at_target()
    await corrupt(store, change)
    before = await facts(store)
    with pytest.raises(Refused, match=text):
        await store.write(lambda tx: compact(tx, FOREVER))
    assert await facts(store) == before
    assert await store.read(baseline.reached) == (0, 0.0)


@pytest.mark.feature("PA-018")
async def test_words_may_be_added_and_moved_but_not_lost():
    chunk = baseline.Chunk("job", 0, ["absent", "a", "b"], bytes([0, 1, 2]), bytes([0, 5, 6]))
    again = chunk.reworded(["absent", "new", "b", "a"])
    assert (list(again.states), list(again.moves)) == ([0, 3, 2], [0, 5, 6])
    with pytest.raises(ValueError, match="the baseline of job knows states that are no more: b"):
        chunk.reworded(["absent", "a"])


@pytest.mark.feature("PA-018")
async def test_items_in_many_chunks(store, campaign):
    """Ids on both sides of a chunk's edge, and far away, are each folded where they belong."""
    ids = [1, baseline.CHUNK - 1, baseline.CHUNK, 5 * baseline.CHUNK + 7]
    await store.write(lambda tx: tx.emit(JobsCreated(ids=ids)))
    await run(store)
    await store.write(lambda tx: tx.emit(JobsSucceeded(ids=ids[1:2])))
    with pytest.raises(Refused, match=f"job {ids[1]} in state new"):
        await run(store)
    found = [await store.read(lambda c, i=i: baseline.of_item(c, "job", JOB_WORDS, i)) for i in ids]
    assert [item.state for item in found] == ["new"] * 4
    assert JOB_TABLE.entity == "job"


async def test_nothing_to_do_on_an_empty_log(store):
    found = await store.read(lambda c: plan(c, FOREVER))
    assert (found.horizon, found.goal, found.facts, found.bytes, found.oldest_at) == (0, 0, 0, 0, None)
    assert await store.write(lambda tx: compact(tx, FOREVER)) == (0, 0, False)
    assert await store.read(lambda c: laws.check(c, now=1.0)) == []
    assert await store.read(alerts.open_alerts) == []
    assert jobs.CHUNK <= baseline.CHUNK

"""Every pair of every table against a real database: legal ones move, all others leave the item as it is."""

import pytest
import sqlalchemy as sa

from domain.allocation import ALLOCATION_TABLE
from domain.events import JobsCooledOff, JobsEnded, JobsQueued, JobsReleased, WorkflowsAdded
from domain.file import BLOCK_TABLE, FILE_TABLE
from domain.job import JOB_TABLE, JobState
from domain.transfer import TRANSFER_TABLE
from domain.transition import IllegalMove
from domain.workflow import WORKFLOW_TABLE
from storage import log, schema
from storage.moves import CHUNK, StaleState, move, move_all

MACHINES = [
    (WORKFLOW_TABLE, schema.workflow),
    (ALLOCATION_TABLE, schema.allocation),
    (JOB_TABLE, schema.job),
    (FILE_TABLE, schema.file),
    (BLOCK_TABLE, schema.block),
    (TRANSFER_TABLE, schema.transfer),
]


def made(event, ids):
    own = {"JobsReleased": {"site": "A", "target": "a"}}.get(event.__name__, {})
    own |= {"until": 5.0} if "until" in event.__struct_fields__ else {}
    return event(ids=ids, reason="why", **own)


async def fill(store, table, states):
    """One row per state, ids from 1."""

    def unit(tx):
        for n, state in enumerate(states, start=1):
            row = {"id": n, "state": state, "since": 1.0}
            for column in table.columns:
                if column.name not in row and not column.nullable and column.server_default is None:
                    row[column.name] = value(column, n)
            tx.connection.execute(table.insert().values(row))

    await store.write(unit)


def value(column, n):
    fixed = {"type": "processing", "kind": "unmerged", "first_event": n * 10, "events": 10}
    if column.name in fixed:
        return fixed[column.name]
    if column.foreign_keys:
        return 1
    if isinstance(column.type, sa.Boolean):
        return False
    return n if isinstance(column.type, sa.Integer | sa.Double | sa.BigInteger) else f"{column.name[:20]}{n}"


@pytest.fixture
async def loose(store):
    """A store whose writer does not look at foreign keys, so that each table can be filled alone."""

    def off(tx):
        if tx.connection.dialect.name != "sqlite":
            tx.connection.exec_driver_sql("SET SESSION foreign_key_checks = 0")
            return
        tx.connection.connection.driver_connection.commit()
        tx.connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        tx.connection.exec_driver_sql("BEGIN IMMEDIATE")

    await store.write(off)
    return store


@pytest.mark.feature("PA-017")
@pytest.mark.parametrize(("machine", "table"), MACHINES, ids=lambda found: getattr(found, "entity", ""))
async def test_every_pair(loose, clock, machine, table):
    states = list(machine.states)
    await fill(loose, table, states)
    ids = list(range(1, len(states) + 1))
    for event, rule in machine.moves.items():

        def one(tx, event=event):
            saved = tx.connection.begin_nested()
            moved = move(tx, table, machine, made(event, ids))
            rows = tx.connection.execute(sa.select(table).order_by(table.c.id)).all()
            facts = list(tx.facts)
            tx.facts.clear()
            saved.rollback()
            return moved, rows, facts

        moved, rows, facts = await loose.write(one)
        expected = [n for n, state in enumerate(states, start=1) if state in rule.sources]
        assert moved == expected, event
        for row, state in zip(rows, states, strict=True):
            if row.id in expected:
                assert (row.state, row.version, row.since, row.reason) == (rule.target, 1, clock.now, "why")
            else:
                assert (row.state, row.version, row.since, row.reason) == (state, 0, 1.0, "")
        assert [fact.ids for fact in facts] == ([expected] if expected else [])


@pytest.mark.feature("PA-017")
@pytest.mark.parametrize(("machine", "table"), MACHINES, ids=lambda found: getattr(found, "entity", ""))
async def test_an_unknown_state_is_refused_by_the_database(loose, machine, table):
    with pytest.raises(
        (sa.exc.IntegrityError, sa.exc.OperationalError), match=r"CHECK constraint failed|CONSTRAINT .* failed"
    ):
        await fill(loose, table, ["dreaming"])
    await fill(loose, table, list(machine.states)[:1])
    with pytest.raises(
        (sa.exc.IntegrityError, sa.exc.OperationalError), match=r"CHECK constraint failed|CONSTRAINT .* failed"
    ):
        await loose.write(lambda tx: tx.connection.execute(table.update().values(state="dreaming")))


@pytest.mark.feature("PA-017")
async def test_a_fact_of_another_kind_moves_nothing(store):
    with pytest.raises(IllegalMove, match="job: no state hears WorkflowsAdded"):
        await store.write(lambda tx: move(tx, schema.job, JOB_TABLE, WorkflowsAdded(ids=[1])))


@pytest.mark.feature("PA-017")
async def test_all_or_nothing(campaign):
    await campaign.request()
    ids = await campaign.cut()
    await campaign.write(lambda tx: move_all(tx, schema.job, JOB_TABLE, JobsQueued(ids=ids[:3])))
    with pytest.raises(StaleState, match=rf"JobsQueued: job \[{ids[0]}, {ids[1]}, {ids[2]}\] no longer"):
        await campaign.write(lambda tx: move_all(tx, schema.job, JOB_TABLE, JobsQueued(ids=ids)))
    assert len(await campaign.ids(JobState.NEW)) == 7
    assert await campaign.breaches() == []


@pytest.mark.feature("PA-017", "PA-018")
async def test_what_was_stale_is_not_in_the_fact(campaign):
    await campaign.request()
    ids = await campaign.cut()
    await campaign.write(lambda tx: move(tx, schema.job, JOB_TABLE, JobsQueued(ids=ids[:3])))
    moved = await campaign.write(lambda tx: move(tx, schema.job, JOB_TABLE, JobsQueued(ids=[*ids, 999, ids[9]])))
    assert moved == ids[3:]
    facts = await campaign.read(lambda c: log.after(c, 0, [JobsQueued], 10))
    assert [logged.fact.ids for logged in facts] == [ids[:3], ids[3:]]
    nothing = await campaign.write(lambda tx: move(tx, schema.job, JOB_TABLE, JobsEnded(ids=ids)))
    assert nothing == []
    assert await campaign.read(lambda c: log.after(c, 0, [JobsEnded], 10)) == []


async def test_further_columns_move_with_the_state(campaign):
    await campaign.request()
    ids = await campaign.cut()
    await campaign.write(lambda tx: move(tx, schema.job, JOB_TABLE, JobsQueued(ids=ids)))
    fact = JobsReleased(ids=ids[:2], site="A", target="a", reason="r" * 900)
    await campaign.write(lambda tx: move(tx, schema.job, JOB_TABLE, fact, site="A", target="a"))
    query = sa.select(schema.job.c.site, schema.job.c.target, schema.job.c.reason).where(schema.job.c.id.in_(ids[:3]))
    rows = await campaign.read(lambda c: c.execute(query).all())
    assert [tuple(row) for row in rows] == [("A", "a", "r" * 500), ("A", "a", "r" * 500), (None, None, "")]


@pytest.mark.feature("PA-017")
async def test_a_large_set_is_one_statement_and_one_fact_a_chunk(new_campaign, spec_of):
    campaign = new_campaign(spec_of(events=2 * CHUNK + 1, events_per_job=1))
    await campaign.request()
    ids = await campaign.cut()
    moved = await campaign.write(lambda tx: move(tx, schema.job, JOB_TABLE, JobsQueued(ids=ids)))
    assert moved == ids
    facts = await campaign.read(lambda c: log.after(c, 0, [JobsQueued], 10))
    assert [len(logged.fact.ids) for logged in facts] == [CHUNK, CHUNK, 1]
    assert await campaign.breaches() == []


async def test_a_wake_time_stands_in_row_and_fact(campaign):
    await campaign.request()
    await campaign.cut()
    await campaign.release()
    ids = await campaign.submit()
    await campaign.run(ids)
    await campaign.fail(ids)
    from storage import jobs

    await campaign.write(lambda tx: jobs.cool_off(tx, ids, campaign.clock.now + 50, "later"))
    (logged,) = await campaign.read(lambda c: log.after(c, 0, [JobsCooledOff], 10))
    assert isinstance(logged.fact, JobsCooledOff)
    assert logged.fact.until == await campaign.read(jobs.next_wake)

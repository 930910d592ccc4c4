"""A wall clock that is set back prolongs no wait."""

import pytest
import sqlalchemy as sa

from domain.job import JobState
from storage import clock as clocks
from storage import jobs, schema

DAY_S = 86_400.0


async def paused(campaign, count):
    await campaign.request()
    ids = (await campaign.cut())[:count]
    return await campaign.write(lambda tx: jobs.pause(tx, ids, "for a test"))


@pytest.mark.feature("REL-08", "PA-010")
async def test_what_waits_since_a_moment_to_come_is_due(campaign, clock):
    ids = await paused(campaign, 3)
    clock.wind(DAY_S)
    await campaign.write(lambda tx: jobs.cool_off(tx, ids[:2], clock.now + 60, "later"))
    clock.wind(-DAY_S)
    await campaign.write(lambda tx: jobs.cool_off(tx, ids[2:], clock.now + 60, "later"))
    assert await campaign.store.read(lambda c: clocks.set_back(c, clock.now))
    assert await campaign.write(clocks.bring_forward) == 2
    assert not await campaign.store.read(lambda c: clocks.set_back(c, clock.now))
    assert await campaign.write(jobs.wake) == ids[:2]


@pytest.mark.feature("REL-08")
async def test_a_clock_that_is_corrected_by_seconds_changes_nothing(campaign, clock):
    ids = await paused(campaign, 1)
    until = clock.now + 300
    await campaign.write(lambda tx: jobs.cool_off(tx, ids, until, "later"))
    clock.wind(-30.0)
    assert not await campaign.store.read(lambda c: clocks.set_back(c, clock.now))
    assert await campaign.write(clocks.bring_forward) == 0
    query = sa.select(schema.job.c.state, schema.job.c.wake_at).where(schema.job.c.id == ids[0])
    assert tuple(await campaign.store.read(lambda c: c.execute(query).one())) == (JobState.COOLOFF, until)

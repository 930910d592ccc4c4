"""A workflow from the request to clean nodes, through storage functions only; the laws hold after every step."""

from collections import Counter

import pytest

from domain.job import JobState
from storage import schema


@pytest.mark.feature("REL-10", "DBS-05", "PA-021", "PA-018", "PA-513")
async def test_the_laws_hold_after_every_step(campaign):
    steps = 0

    async def look():
        nonlocal steps
        steps += 1
        assert await campaign.breaches() == []

    campaign.after = look
    await campaign.whole()
    assert steps > 25
    row = await campaign.ledger()
    assert (row.requested, row.merged, row.in_progress, row.lost) == (1000, 1000, 0, 0)
    assert row.complete
    assert set(await campaign.states()) == {"cleaned"}
    assert Counter(await campaign.states(schema.file)) == {"removed": 10, "catalogued": 4}
    assert set(await campaign.states(schema.transfer)) == {"safe"}
    assert await campaign.states(schema.workflow) == ["completed"]
    assert await campaign.states(schema.allocation) == ["reported"]
    assert set(await campaign.states(schema.block)) == {"closed"}


async def test_the_ledger_follows_the_events(campaign):
    await campaign.request(pieces=2)
    await campaign.cut(limit=2)
    row = await campaign.ledger()
    assert (row.requested, row.merged, row.in_progress, row.lost) == (1000, 0, 1000, 0)
    await campaign.cut()
    assert len(await campaign.ids(JobState.NEW)) == 10
    assert await campaign.breaches() == []

"""Absence has its own state: lost with a grace, back by any sign of life, fenced before it is tried again."""

from pathlib import Path

import pytest
import sqlalchemy as sa

from actors.messages import Wake
from domain import events as e
from domain.job import JobState
from storage import schema
from storage.why import why
from tests.integration.agent import Agent, running, workflow
from tests.integration.forgetful import Forgetful

ODD = """
[tracker]
grace_s = 0.1
lost_s = {lost_s}
compare_s = 0.05

[sites.odd.storage]
kind = "posix"
root = "odd/storage"

[sites.odd.targets.odd-batch]
kind = "tests.integration.forgetful:Forgetful"
forgets = {forgets}
poll_s = 0.05
"""


def odd(agent: Agent) -> Forgetful:
    found = agent.world.batches["odd-batch"]
    assert isinstance(found, Forgetful)
    return found


async def states(agent: Agent) -> set[str]:
    def read(connection: sa.Connection) -> set[str]:
        return set(connection.execute(sa.select(schema.job.c.state)).scalars())

    return await agent.world.store.read(read)


@pytest.mark.feature("PA-312", "PA-313")
async def test_a_job_that_vanishes_is_lost_and_adopted_when_it_comes_back(tmp_path: Path) -> None:
    async with running(tmp_path, more=ODD.format(lost_s=60.0, forgets="true")) as agent:
        await agent.submit(workflow(events=10, sites=["odd"]))
        await agent.fact(e.JobsLost).reached()
        assert await states(agent) == {JobState.LOST}
        batch = odd(agent)
        batch.go, batch.hidden = False, False
        await agent.fact(e.JobsSubmitted).reached(2)
        assert await states(agent) == {JobState.PENDING}
        batch.go = True
        await agent.fact(e.JobsEnded).reached()
        assert len(batch.jobs) == 1, "it was tried again although it came back"
        assert batch.cancelled == []


@pytest.mark.feature("PA-313", "PA-308")
async def test_a_job_that_stays_away_is_fenced_and_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path, more=ODD.format(lost_s=0.1, forgets="true")) as agent:
        await agent.submit(workflow(events=10, sites=["odd"]))
        await agent.fact(e.JobsFailed).reached()
        batch = odd(agent)
        (first,) = set(batch.cancelled)
        batch.hidden = False
        await agent.fact(e.JobsEnded).reached()
        assert first in batch.jobs
        assert len(batch.jobs) >= 2


@pytest.mark.feature("PA-309")
async def test_a_refusal_that_passes_costs_no_allowance(tmp_path: Path) -> None:
    async with running(tmp_path, more=ODD.format(lost_s=60.0, forgets="false")) as agent:
        batch = odd(agent)
        batch.busy = True
        await agent.submit(workflow(events=10, sites=["odd"]))
        await agent.fact(e.JobsFailed).reached()

        def outcomes(connection: sa.Connection) -> set[str]:
            return set(connection.execute(sa.select(schema.attempt.c.outcome)).scalars())

        assert await agent.world.store.read(outcomes) == {"void"}
        batch.busy = False
        await agent.fact(e.JobsSubmitted).reached()


@pytest.mark.feature("PA-303", "UX-05")
async def test_why_tells_the_batch_systems_own_reason(tmp_path: Path) -> None:
    async with running(tmp_path, more=ODD.format(lost_s=60.0, forgets="false")) as agent:
        batch = odd(agent)
        batch.go = False
        await agent.submit(workflow(events=10, sites=["odd"]))
        await agent.fact(e.JobsSubmitted).reached()

        await agent.system.ref("tracker.odd-batch").ask(Wake())

        def asked(connection: sa.Connection) -> str:
            (job,) = connection.execute(sa.select(schema.job.c.id)).scalars()
            return why(connection, f"job:{job}", agent.world.settings, agent.world.clock.time()).text

        assert "Priority" in await agent.world.store.read(asked)

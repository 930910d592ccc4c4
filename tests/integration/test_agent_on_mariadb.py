"""An agent whose database goes away, comes back, hangs, and is taken over."""

import asyncio

import pytest

from domain import events as e
from storage import laws
from tests.integration.agent import running, workflow
from tests.real.mariadb import PASSWORD


@pytest.fixture
def store(maria, maria_url, monkeypatch):
    monkeypatch.setenv("STORE_PASSWORD", PASSWORD)
    return maria.reference(maria_url())


@pytest.mark.timeout(120)
@pytest.mark.feature("REL-09", "PA-022")
async def test_work_goes_on_when_the_database_comes_back(tmp_path, store, maria):
    """Killed and started again in the middle of the work, three times: nothing is given up, nothing asks for a person."""
    async with running(tmp_path, store=store) as agent:
        await agent.submit(workflow(events=45))
        for fact in (e.JobsSubmitted, e.JobsEnded, e.FilesCatalogued):
            await agent.fact(fact).reached()
            maria.kill()
            maria.launch()
            await asyncio.to_thread(maria.answers)
        await agent.fact(e.WorkflowsCompleted).reached()
        lines = [int(line) for path in (tmp_path / "gamma/storage").rglob("*.txt") for line in path.read_text().split()]
        assert sorted(lines) == list(range(1, 46))
        assert await agent.world.store.read(lambda c: laws.check(c, now=agent.world.clock.time())) == []

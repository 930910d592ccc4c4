"""The page about subscribing says the truth: its five lines, off for a week and killed, get every fact once."""

import re
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from actors.messages import Wake
from domain import events as e
from storage import log, schema
from tests.integration.agent import Agent, running, workflow

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "subscribe-to-facts.md"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the module of the page; return the table of the configuration."""
    code = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (toml,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "my_counter.py").write_text(code[1] + "\n\n" + code[0])
    assert len([line for line in code[0].splitlines() if line.strip()]) <= 5
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_counter", raising=False)
    return f"\n{toml}"


async def succeeded(agent: Agent) -> dict[str, str]:
    """Return what the counter should have said."""
    facts = await agent.world.store.read(lambda c: log.after(c, 0, [e.JobsSucceeded], 1000))
    return {f"fact {logged.id}": f"{len(logged.fact.ids)} more" for logged in facts}


async def said(agent: Agent) -> dict[str, tuple[str, int]]:
    query = sa.select(schema.alert.c.subject, schema.alert.c.text, schema.alert.c["count"])
    rows = await agent.world.store.read(lambda c: list(c.execute(query.where(schema.alert.c.code == "jobs-done"))))
    return {row[0]: (row[1], row[2]) for row in rows}


async def finished(agent: Agent) -> None:
    """Return when every workflow is complete."""
    query = sa.select(schema.workflow.c.state)
    while set(await agent.world.store.read(lambda c: list(c.execute(query).scalars()))) != {"completed"}:
        await agent.fact(e.WorkflowsCompleted).reached()


async def caught_up(agent: Agent) -> None:
    while set(await said(agent)) != set(await succeeded(agent)):
        await agent.system.ref("counter").ask(Wake())


@pytest.mark.feature("PA-007", "PA-008", "PA-018")
async def test_five_lines_get_every_fact_once(tmp_path: Path, table: str) -> None:
    async with running(tmp_path, more=table) as agent:
        await agent.submit(workflow("before"))
        await agent.fact(e.JobsSucceeded).reached()
    async with running(tmp_path, events="keep_s = 0.001") as agent:  # a week without it; the log is compacted meanwhile
        await agent.submit(workflow("meanwhile"))
        await finished(agent)
    async with running(tmp_path, more=table) as agent:
        await agent.submit(workflow("after"))
        await finished(agent)
        await caught_up(agent)
        expected = await succeeded(agent)
        assert len(expected) >= 3
        assert await said(agent) == {subject: (text, 1) for subject, text in expected.items()}

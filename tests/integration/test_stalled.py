"""A running job that gets nowhere is told to people, until it gets on."""

from pathlib import Path

import pytest

from actors.messages import Wake
from domain import events as e
from storage import alerts
from storage.alerts import Alert
from tests.integration.agent import Agent, running, workflow

SETTINGS = "\n[tracker]\ncompare_s = 0.05\nstalled_s = 0.4\n"
PAYLOAD = "n=0; until [ -e {gate} ] || [ $((n += 1)) -gt 1200 ]; do sleep 0.05; done; seq 1 5 > {{output}}"


async def told(agent: Agent) -> list[Alert]:
    return [one for one in await agent.world.store.read(alerts.open_alerts) if one.code == "jobs-stalled"]


@pytest.mark.feature("PA-325")
async def test_a_stalled_job_is_an_alert_while_it_lasts(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    async with running(tmp_path, more=SETTINGS) as agent:
        await agent.submit(workflow(events=5, command=PAYLOAD.format(gate=gate)))
        tracker = agent.system.ref("tracker.alpha-local")
        while not (found := await told(agent)):
            await tracker.ask(Wake())
        assert (found[0].level, found[0].subject) == ("warning", "alpha-local")
        assert "1 running jobs make no progress: job 1 for 0.0 h at step " in found[0].text
        gate.touch()
        await agent.fact(e.WorkflowsCompleted).reached()
        while await told(agent):
            await tracker.ask(Wake())

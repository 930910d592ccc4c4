"""A target that is taken out of the configuration while it has jobs, with the agent not there to be told."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from actors.messages import Reload
from config.loader import ConfigError
from domain import events as e
from run_agent import agent as whole
from services.console.program import program
from storage import messages, schema, stranded
from tests.integration.agent import beta, running, workflow

HANGS_AT_BETA = "case $PWD in */beta/*) sleep 600;; esac; seq {first_event} {last_event} > '{output}'"


@pytest.mark.feature("PA-205", "REL-11")
async def test_jobs_of_a_removed_target_have_an_owner_again(tmp_path: Path) -> None:
    async with running(tmp_path, more=beta(slots=4)) as agent:
        await agent.submit(workflow(events=80, command=HANGS_AT_BETA))
        await agent.fact(e.JobsAccounted).reached()
        held: list[int] = []
        while not held:
            seen = agent.fact(e.JobsSubmitting).count
            held = await agent.world.store.read(lambda c: stranded.at(c, "beta-local"))
            if not held:
                await agent.fact(e.JobsSubmitting).reached(seen + 1)
        await agent.world.store.write(lambda tx: tx.connection.execute(schema.configured.delete()) and None)
    assert held, "of a store that an earlier release wrote last"
    with pytest.raises(ConfigError, match=r"no target 'beta-local', where the store has \d jobs under way"):
        async with running(tmp_path):
            raise AssertionError("started")

    async def abandon(*more: str) -> tuple[int, str]:
        words = ["abandon", "beta-local", "--config", str(tmp_path / "agent.toml"), *more]
        done = await asyncio.to_thread(CliRunner().invoke, program(whole), words)
        return done.exit_code, done.output

    assert await abandon("--dry-run") == (0, f"{len(held)} jobs would be given up at beta-local and tried elsewhere\n")
    code, text = await abandon()
    assert (code, text) == (0, f"{len(held)} jobs are given up at beta-local and tried elsewhere\n")
    assert (await abandon())[0] == 1
    async with running(tmp_path) as agent:
        await agent.fact(e.WorkflowsCompleted).reached()
        assert await agent.world.store.read(lambda c: stranded.stranded(c, ())) == {}


@pytest.mark.usefixtures("both_stores")
@pytest.mark.feature("PA-205", "OPS-03", "REL-01")
async def test_a_target_that_left_the_file_while_the_agent_was_dead_runs_empty(tmp_path: Path) -> None:
    """With its host, which left the file too; the rest of the farm works meanwhile."""
    gate = tmp_path / "gate"
    waits = f"until [ -e {gate} ]; do sleep 0.05; done; seq {{first_event}} {{last_event}} > '{{output}}'"
    host = '[hosts.old]\naddress = "old.example.org"\n'
    async with running(tmp_path, more=beta(slots=4) + host) as agent:
        await agent.submit(workflow(events=20, command=waits, sites=["beta"], deliver_to=["alpha"]))
        await agent.fact(e.JobsStarted).reached()
    async with running(tmp_path) as agent:
        assert "tracker.beta-local" in agent.system.names()
        assert "beta" not in agent.world.configured.sites
        assert agent.world.settings.hosts["old"].address == "old.example.org"
        await agent.submit(workflow(name="rest", events=20))
        await agent.fact(e.WorkflowsCompleted).reached()
        (fact,) = (await agent.world.store.read(lambda c: messages.history(c, "settings", 1))).facts
        assert fact.more["changes"] == ["target beta-local: not in the file any more; it runs empty"]
    async with running(tmp_path) as agent:
        assert "tracker.beta-local" in agent.system.names(), "as long as it takes"
        gate.touch()
        await agent.fact(e.WorkflowsCompleted).reached()
        await agent.fact(e.SettingsChanged).reached()
        await agent.system.ref("reloader").ask(Reload(dry_run=True))  # behind the look that lets it go
        assert [name for name in agent.system.names() if name.endswith("beta-local")] == []
    async with running(tmp_path) as agent:
        assert list(agent.world.settings.sites) == ["alpha", "gamma"]
        assert agent.world.settings.hosts == {}, "hosts that nobody needs are forgotten"

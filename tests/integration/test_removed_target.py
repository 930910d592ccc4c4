"""A target that is taken out of the configuration while it has jobs: refused at the start, unless they are given up."""

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from config.loader import ConfigError
from domain import events as e
from run_agent import agent as whole
from services.console.program import program
from storage import stranded
from tests.integration.agent import running, workflow

BETA = """
[sites.beta.storage]
kind = "posix"
root = "beta/storage"

[sites.beta.targets.beta-local]
kind = "local"
directory = "beta/batch"
slots = 4
idle_s = 0.5
poll_s = 0.05
"""
HANGS_AT_BETA = "case $PWD in */beta/*) sleep 600;; esac; seq {first_event} {last_event} > '{output}'"


@pytest.mark.feature("PA-205", "REL-11")
async def test_jobs_of_a_removed_target_have_an_owner_again(tmp_path: Path) -> None:
    async with running(tmp_path, more=BETA) as agent:
        await agent.submit(workflow(events=80, command=HANGS_AT_BETA))
        await agent.fact(e.JobsAccounted).reached()
        held = await agent.world.store.read(lambda c: stranded.at(c, "beta-local"))
    assert held
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

"""Sites come and go by an operator's order, beside those of the file: checked as these are, and kept."""

import asyncio
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actors.messages import DropSite, PutSite, Refused, Reload, Reloaded
from config.loader import ConfigError
from domain import events as e
from run_agent import agent as whole
from services.console.program import program
from storage import added_sites, alerts
from storage.views.sites import all_sites
from tests.integration.agent import Agent, beta, running, workflow

BETA = tomllib.loads(beta())["sites"]["beta"]


async def order(agent: Agent, message: PutSite | DropSite | Reload) -> Reloaded:
    answer: Reloaded = await agent.system.ref("reloader").ask(message)
    return answer


async def put(agent: Agent, name: str = "beta", table: dict[str, Any] = BETA, **more: Any) -> Reloaded:
    return await order(agent, PutSite(name=name, table=table, who="ann", reason="a new cluster", **more))


async def command(directory: Path, *words: str) -> Any:
    return await asyncio.to_thread(
        CliRunner().invoke, program(whole), [*words, "--config", str(directory / "agent.toml")], env={"COLUMNS": "200"}
    )


@pytest.mark.usefixtures("both_stores")
@pytest.mark.feature("PA-205", "OPS-03", "OPS-06")
async def test_a_site_is_added_used_kept_changed_and_dropped(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    waits = f"until [ -e {gate} ]; do sleep 0.05; done; seq {{first_event}} {{last_event}} > '{{output}}'"
    async with running(tmp_path, admin=True) as agent:
        assert "sites.beta.storage.root" in {one.key for one in (await put(agent, dry_run=True)).changes}
        assert "beta" not in agent.world.settings.sites
        await put(agent)
        assert "tracker.beta-local" in agent.system.names()
        await agent.submit(workflow(events=20, command=waits, sites=["beta"]))
        await agent.fact(e.JobsStarted).reached()
        with pytest.raises(Refused, match=r"site 'beta' is in use: .*jobs.*`site drain-processing beta` first"):
            await order(agent, DropSite(name="beta"))
    async with running(tmp_path, admin=True) as agent:
        assert "tracker.beta-local" in agent.system.names(), "it holds over a restart"
        shown = await command(tmp_path, "site-show", "beta")
        assert "beta was added by ann" in shown.output
        assert 'targets.beta-local.kind = "local"' in shown.output
        dearer = tmp_path / "dearer.toml"
        dearer.write_text(beta().replace("sites.beta.", "").replace("\n[storage]", "cost = 2.0\n[storage]", 1))
        again = await command(tmp_path, "site-add", "beta", str(dearer))
        assert (again.exit_code, "is there already" in again.output) == (1, True)
        done = await command(tmp_path, "site-add", "beta", str(dearer), "--replace", "--json")
        assert [one["key"] for one in json.loads(done.stdout)["changes"]] == ["sites.beta.cost"]
        gate.touch()
        await agent.fact(e.WorkflowsCompleted).reached()
        settings = agent.world.settings
        views = await agent.world.store.read(lambda c: all_sites(c, settings, agent.world.clock.time()))
        assert [view.name for view in views] == ["alpha", "gamma", "beta"]
        removed = agent.fact(e.FilesRemoved).count
        while (done := await command(tmp_path, "site-drop", "beta", "--reason", "gone")).exit_code:
            assert "in use" in done.output
            await agent.fact(e.FilesRemoved).reached(removed + 1)
            removed = agent.fact(e.FilesRemoved).count
        assert await agent.world.store.read(added_sites.load) == {}
        assert "beta" not in agent.world.configured.sites
        assert (await command(tmp_path, "site-show", "beta")).exit_code == 1


@pytest.mark.feature("PA-205", "OPS-06")
async def test_what_cannot_be_added_or_dropped_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        wrong = {**BETA, "storage": {"kind": "posix"}}
        double = {**BETA, "targets": {"alpha-local": BETA["targets"]["beta-local"]}}
        remote = {**BETA, "targets": {"beta-slurm": {"kind": "slurm", "directory": "/d", "host": "bern"}}}
        for name, table, text in (
            ("alpha", BETA, "site 'alpha' stands in .*agent.toml; expected to be changed there"),
            ("beta", wrong, "sites.beta.storage.root"),
            ("beta", double, "the target name 'alpha-local' again"),
            ("beta", remote, "a table hosts.bern"),
            ("be ta", BETA, "be ta"),
            ("beta", {**BETA, "colour": 1}, "sites.beta.colour"),
        ):
            with pytest.raises(Refused, match=text):
                await put(agent, name, table)
        await put(agent)
        for name, text in (("alpha", "stands in"), ("bete", "no site 'bete' was added; did you mean 'beta'")):
            with pytest.raises(Refused, match=text):
                await order(agent, DropSite(name=name))
        assert await agent.world.store.read(alerts.open_alerts) == [], "the file is as good as it was"


@pytest.mark.feature("PA-205", "OPS-03")
async def test_a_site_that_the_file_names_by_now_is_the_files(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        await put(agent)
        path = tmp_path / "agent.toml"
        path.write_text(path.read_text() + beta(slots=1))
        assert [one.key for one in (await order(agent, Reload())).changes] == ["sites.beta.targets.beta-local.slots"]
        assert await agent.world.store.read(added_sites.load) == {}
        path.write_text(path.read_text().replace(beta(slots=1), ""))
        await order(agent, Reload())
        assert "beta" not in agent.world.configured.sites
        await put(agent)
    async with running(tmp_path, more=beta()) as agent:
        assert await agent.world.store.read(added_sites.load) == {}, "also when it is named at a start"
    host = '[hosts.bern]\naddress = "bern.example.org"\n'
    remote = {**BETA, "targets": {"beta-slurm": {"kind": "slurm", "directory": "/d", "host": "bern"}}}
    async with running(tmp_path, more=host) as agent:
        await put(agent, table=remote)
    with pytest.raises(ConfigError, match=r"sites.beta.targets.beta-slurm.host.*a table hosts.bern"):
        async with running(tmp_path):
            raise AssertionError("started")

"""The verbs that change what an agent works by, against one that serves."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import UNSET
from typer.testing import Result

from actors.admin_pages import changing
from actors.messages import ListSites, Refused, Reload, Reloaded, ReviseWorkflow, SetLimit
from domain.revising import Revision
from domain.siting import Lists
from services.console import reloading, revising
from services.console.exits import Exit
from storage import job_lists, overrides
from storage.overrides import Override
from supervisors import AsyncioActor
from tests.unit.admin.running import Agent
from tests.unit.console.test_reading import CONFIG

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
def run(tmp_path: Path, told: Run) -> Run:
    (tmp_path / "prodagent.toml").write_text(CONFIG)
    return told


@pytest.mark.feature("PA-216", "OPS-06")
async def test_a_workflow_gets_a_new_version(agent: Agent, run: Run) -> None:
    words = ("--sites", "alpha,beta", "--memory", "3000", "--wall", "8h", "--max-sites", "2", "--priority", "7")
    text = (await run("workflow", "change", "zmumu", *words, "--dry-run")).stdout
    assert "zmumu would be version 2; 4 jobs that wait at a target would come back" in text
    assert "memory_mb: 2000 -> 3000" in text
    order = agent.probe("reviser").messages[-1]
    revision = Revision(sites=["alpha", "beta"], memory_mb=3000, wall_s=28800, max_sites=2, priority=7)
    assert order == ReviseWorkflow(workflow="zmumu", revision=revision, who="anna", dry_run=True)
    words = ("--sites", "any", "--max-sites", "any", "--group", "", "--reason", "all of them again")
    assert "zmumu is version 2; 4 jobs" in (await run("workflow", "change", "zmumu", *words)).stdout
    order = agent.probe("reviser").messages[-1]
    assert (order.revision.sites, order.revision.max_sites, order.revision.group) == ([], 0, "")
    assert (order.revision.cores, order.reason) == (UNSET, "all of them again")
    assert (
        "no site 'nowhere'" in (await run("workflow", "change", "zmumu", "--sites", "nowhere", code=Exit.FAILED)).stderr
    )


@pytest.mark.feature("PA-216", "OPS-06")
@pytest.mark.parametrize(
    ("words", "text"),
    [
        ((), "expected one of the options"),
        (("--wall", "soon"), "--wall: got 'soon', expected a time such as 36 h"),
        (("--max-sites", "0"), "--max-sites: got '0', expected a number from 1 on, or any"),
        (("--sites", "al pha"), "letters, digits"),
    ],
)
async def test_what_makes_no_sense_is_refused(agent: Agent, run: Run, words: tuple[str, ...], text: str) -> None:
    assert text in (await run("workflow", "change", "zmumu", *words, code=Exit.USAGE)).stderr


@pytest.mark.feature("PA-216", "OPS-06")
async def test_versions_are_listed(agent: Agent, run: Run) -> None:
    assert "as submitted" in (await run("workflow", "versions", "zmumu")).stdout
    (only,) = json.loads((await run("workflow", "versions", "zmumu", "--json")).stdout)
    assert (only["version"], only["spec"]["name"]) == (1, "zmumu")
    assert "did you mean 'zmumu'" in (await run("workflow", "versions", "zmumo", code=Exit.FAILED)).stderr
    (served,) = await agent.get("/api/v1/workflows/zmumu/versions")
    assert served == only


@pytest.mark.feature("OPS-03", "OPS-06")
async def test_the_configuration_is_read_anew(agent: Agent, run: Run) -> None:
    text = (await run("reload", "--dry-run")).stdout
    assert agent.probe("reloader").messages[-1] == Reload(who="anna", dry_run=True)
    assert "would act now" in text
    assert "needs a restart" in text
    assert "old leaves the configuration" in text
    answer = json.loads((await run("reload", "--json")).stdout)
    assert [(one["key"], one["restart"]) for one in answer["changes"]] == [
        ("sites.alpha.targets.a.limits.merge", False), ("admin.port", True),
    ]  # fmt: skip
    assert agent.probe("reloader").messages[-1] == Reload(who="anna")


@pytest.mark.feature("OPS-06")
def test_each_verb_has_an_example_and_a_heading() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "commands.md").read_text()
    for command in revising.app.registered_commands:
        assert command.callback is not None
        assert "run_agent.py" in (command.callback.__doc__ or "")
        assert f"### workflow {command.callback.__name__}\n" in page


@pytest.mark.feature("PA-206", "OPS-06")
async def test_a_limit_is_set_shown_and_taken_back(agent: Agent, run: Run) -> None:
    shown = (await run("limit", "alpha-batch", "processing-pending", "3", "--reason", "flood", "--dry-run")).stdout
    assert "alpha-batch processing_pending would be 3, was 5; the configuration says 5" in shown
    order = agent.probe("steward").messages[-1]
    assert order == SetLimit(
        target="alpha-batch", limit="processing_pending", value=3, reason="flood", who="anna", dry_run=True
    )
    await run("limit", "alpha-batch", "cores", "any")
    assert agent.probe("steward").messages[-1] == SetLimit(target="alpha-batch", limit="cores", who="anna")
    await run("limit", "alpha-batch", "cores", "default")
    assert agent.probe("steward").messages[-1].default
    assert (
        "expected a whole number, any or default"
        in (await run("limit", "alpha-batch", "cores", "few", code=Exit.USAGE)).stderr
    )
    assert "all limits are those of the configuration" in (await run("limits")).stdout
    for target in ("alpha-batch", "gone"):
        new = Override(target, "processing", 3, "ann", "flood", 1.7e9)
        await agent.store.write(lambda tx, new=new: overrides.put(tx, new))
    for verb in ("limits", "status"):
        text = (await run(verb)).stdout
        assert all(word in text for word in ("flood", "ann", "no such target"))
    assert "flood" in (await run("sites")).stdout
    assert len(json.loads((await run("status", "--json")).stdout)["limits"]) == 2


@pytest.mark.feature("PA-205", "OPS-06")
async def test_single_jobs_get_lists_of_sites(agent: Agent, run: Run) -> None:
    assert "1 job restricted: 13" in (await run("restrict", "13", "20-21", "--sites", "alpha, beta")).stdout
    assert agent.probe("steward").messages[-1] == ListSites(jobs=[13, 20, 21], sites=["alpha", "beta"], who="anna")
    words = ("restrict", "13", "--deny-sites", "beta", "--reason", "a look", "--dry-run")
    assert "1 job would be restricted" in (await run(*words)).stdout
    order = agent.probe("steward").messages[-1]
    assert (order.deny_sites, order.reason, order.dry_run) == (["beta"], "a look", True)
    assert "free of lists" in (await run("restrict", "13", "--free")).stdout
    assert agent.probe("steward").messages[-1] == ListSites(jobs=[13], who="anna")
    assert "all of them have ended" in (await run("restrict", "99", "--free", code=Exit.FAILED)).stderr
    for wrong in (("13",), ("13", "--free", "--sites", "alpha")):
        assert "or --free" in (await run("restrict", *wrong, code=Exit.USAGE)).stderr
    own = Lists(frozenset({"alpha"}))
    await agent.store.write(lambda tx: job_lists.put(tx, [13], own, "ann", "a look"))
    said = "of its own it is allowed alpha, denied none (ann: a look)"
    assert said in " ".join((await run("job", "13")).stdout.split())
    assert said in await agent.get("/jobs/13")
    assert (await agent.get("/api/v1/jobs/13"))["lists"] == said
    await agent.post("/jobs/sites", {"jobs": []}, 400)
    await agent.post("/jobs/sites", {"jobs": [13]}, 401, token=False)


@pytest.mark.feature("OPS-03", "OPS-06")
async def test_a_reload_that_takes_long_says_what_it_waits_for(
    agent: Agent, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is answered with what is under way; the command goes on asking until it is over."""
    monkeypatch.setattr(changing, "SOON_S", 0.0)
    monkeypatch.setattr(reloading, "LOOK_S", 0.01)
    over, world = asyncio.Event(), agent.system.instance("admin").world

    class Slow(AsyncioActor):
        async def on_receive(self, message: Reload) -> Reloaded:
            world.doing = "target.alpha-batch ends"
            await over.wait()
            world.doing = ""
            if message.dry_run:
                raise Refused("agent.toml: agent.name: got nothing")
            return Reloaded(changes=[], leaving=["old"], failed=[])

    await agent.system.replace("reloader", Slow)
    async with asyncio.timeout(60):
        command = asyncio.create_task(run("reload"))
        while not world.doing:
            await asyncio.sleep(0)
        state = await agent.get("/api/v1/reload")
        assert (state["under_way"], state["done"], state["since"] > 0) == ("target.alpha-batch ends", None, True)
        again = await agent.post("/reload", {}, 409)
        assert "a reload is under way: target.alpha-batch ends" in again["error"]["text"]
        over.set()
        told = await command
        assert "old leaves the configuration" in told.stdout
        assert "under way: " in told.stderr
        assert (await agent.get("/api/v1/reload"))["done"]["leaving"] == ["old"]
        over.clear()
        refused = asyncio.create_task(run("reload", "--dry-run", code=Exit.FAILED))
        while not world.doing:
            await asyncio.sleep(0)
        first = await agent.post("/reload", {}, 409)
        assert "under way" in first["error"]["text"]
        over.set()
        assert "agent.toml: agent.name: got nothing" in (await refused).stderr


@pytest.mark.feature("OPS-03", "OPS-06")
async def test_a_reload_that_takes_long_is_answered_at_once(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "SOON_S", 0.0)
    answer = await agent.post("/reload", {}, 202)
    assert answer["under_way"] == "waits for its turn"
    while not (answer := await agent.get("/api/v1/reload"))["done"]:
        assert answer["under_way"]
    assert answer["done"]["leaving"] == ["old"]

"""The verbs that change what an agent works by, against one that serves."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import UNSET
from typer.testing import Result

from actors.messages import Reload, ReviseWorkflow
from domain.revising import Revision
from services.console import revising
from services.console.exits import Exit
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

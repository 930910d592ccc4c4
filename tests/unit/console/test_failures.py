"""The verbs about failures and nodes: rules tried without an agent, causes from the store, nodes through the agent."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from typer.testing import Result

from actors.messages import AllowNode, ExcludeNode, RevertNeeds
from services.console.exits import Exit
from storage import nodes
from storage.nodes import Excluded
from tests.unit.admin.running import Agent
from tests.unit.console.test_reading import CONFIG

Run = Callable[..., Awaitable[Result]]
RULES = """
[[errors.rules]]
name = "licence server away"
codes = "1, 70-79"
text = "(?i)licen[cs]e"
blame = "site"
action = "wait"
[[errors.rules]]
name = "warnings only"
codes = "3"
action = "accept"
"""


@pytest.fixture
def run(tmp_path: Path, told: Run) -> Run:
    (tmp_path / "prodagent.toml").write_text(CONFIG + RULES)
    return told


@pytest.mark.feature("PA-405")
async def test_a_failure_is_classified_from_the_configuration_alone(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "end.log"
    log.write_text("...\nFATAL: License expired\n")
    for words, rule, place, allowance in (
        (("--code", "75", "--log", str(log)), "licence server away", 1, "site"),
        (("--code", "3"), "warnings only", 2, "payload"),
        (("--code", "50700", "--said", "NODE_FAIL"), "the node failed", 14, "site"),
        (("--code", "90006"), "the batch system never had it", 5, "none"),
    ):
        found = json.loads((await run("errors", "classify", *words, "--json")).stdout)
        assert (found["rule"], found["place"], found["allowance"]) == (rule, place, allowance)
        assert found["own"] is (place <= 2)
    unknown = await run("errors", "classify", "--code", "77777", code=Exit.FAILED)
    assert "no rule matches" in unknown.stdout


@pytest.mark.feature("PA-405")
async def test_the_rules_are_listed_in_the_order_in_which_they_are_tried(run: Run) -> None:
    found = json.loads((await run("errors", "rules", "--json")).stdout)
    assert [rule["name"] for rule in found[:2]] == ["licence server away", "warnings only"]
    assert found[-1]["name"] == "payload failed"
    shown = (await run("errors", "rules")).stdout
    assert "licen[cs]e" in shown
    assert "wait" in shown


@pytest.mark.feature("PA-405", "OPS-03")
async def test_a_rule_that_cannot_be_is_refused_with_its_key(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prodagent.toml").write_text(CONFIG + RULES.replace('"(?i)licen[cs]e"', '"("'))
    refused = (await run("errors", "rules", code=Exit.BAD_CONFIG)).stderr
    assert "errors.rules[0]" in refused
    assert "no regular expression" in refused
    for name in ("licence server away", "memory limit"):
        (tmp_path / "prodagent.toml").write_text(CONFIG + RULES.replace("warnings only", name))
        assert f"the name '{name}' stands twice" in (await run("errors", "rules", code=Exit.BAD_CONFIG)).stderr


@pytest.mark.feature("PA-416")
async def test_the_top_causes_are_added_up_as_asked(agent: Agent, run: Run) -> None:
    (cause,) = json.loads((await run("errors", "top", "--json")).stdout)
    assert (cause["exit_code"], cause["count"], cause["blame"]) == (60311, 3, "site")
    assert "no space left" in cause["pattern"]
    assert "stage-out failed" in (await run("errors", "top", "--by", "node", "--by", "exit_code")).stdout
    assert "expected one of" in (await run("errors", "top", "--by", "moon", code=Exit.USAGE)).stderr


@pytest.mark.feature("PA-321")
async def test_nodes_are_listed_excluded_and_allowed(agent: Agent, run: Run) -> None:
    assert "every node gets jobs" in (await run("nodes", "list")).stdout
    bad = Excluded("alpha", "bad1", time.time(), None, "burns", "anna")
    await agent.store.write(lambda tx: nodes.exclude(tx, bad))
    (row,) = json.loads((await run("nodes", "list", "--json")).stdout)
    assert (row["node"], row["until"], row["reason"]) == ("bad1", None, "burns")
    await run("nodes", "exclude", "alpha", "bad2", "--hours", "2", "--reason", "loud")
    order = agent.probe("error").messages[-1]
    assert order == ExcludeNode(site="alpha", node="bad2", hours=2.0, reason="loud", who="anna")
    await run("nodes", "allow", "alpha", "bad2", "--dry-run")
    assert agent.probe("error").messages[-1] == AllowNode(site="alpha", node="bad2", who="anna", dry_run=True)
    assert "nothing to do" in (await run("nodes", "allow", "alpha", "good", code=Exit.FAILED)).stderr
    assert "expected one of alpha" in (await run("nodes", "exclude", "moon", "n", code=Exit.USAGE)).stderr
    assert [one["node"] for one in await agent.get("/api/v1/nodes")] == ["bad1"]


@pytest.mark.feature("PA-408")
async def test_what_was_learned_is_taken_back(agent: Agent, run: Run) -> None:
    assert "2 jobs have the needs of their workflow again" in (await run("errors", "revert", "zmumu")).stdout
    assert agent.probe("error").messages[-1] == RevertNeeds(workflow="zmumu", who="anna")


async def test_every_verb_shows_an_example(run: Run) -> None:
    for words in [["errors", name] for name in ("classify", "rules", "top", "revert")] + [
        ["nodes", name] for name in ("list", "exclude", "allow")
    ]:
        text = (await run(*words, "--help")).stdout
        assert "Example" in text
        assert "run_agent.py" in text

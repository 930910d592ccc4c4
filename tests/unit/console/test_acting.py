"""The verbs that act, against an agent that serves."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest
from typer.testing import Result

from actors.messages import (
    CancelTransfers,
    DropLetters,
    HoldWorkflow,
    KillJobs,
    LiftControl,
    RetryJobs,
    RetryTransfers,
)
from services.console.agent import AgentFile
from services.console.exits import Exit
from storage import jobs
from tests.unit.admin.running import Agent
from tests.unit.console.test_reading import CONFIG

Run = Callable[..., Awaitable[Result]]
WORKFLOW = 'name = "new"\nevents = 2000\nfiles = ["run.sh"]\n[[steps]]\ncommand = ["sh", "run.sh"]\n'


@pytest.fixture
def run(tmp_path: Path, told: Run) -> Run:
    (tmp_path / "prodagent.toml").write_text(CONFIG)
    return told


@pytest.mark.feature("OPS-06")
async def test_a_workflow_is_submitted_with_its_files(agent: Agent, run: Run, tmp_path: Path) -> None:
    (tmp_path / "run.sh").write_text("echo hello\n")
    (tmp_path / "new.toml").write_text(WORKFLOW)
    assert "would be taken on" in (await run("submit", "new.toml", "--dry-run")).stdout
    assert json.loads((await run("submit", "new.toml", "--json")).stdout)["jobs"] == 2
    order = agent.probe("injector").messages[-1]
    assert (order.spec.name, order.dry_run) == ("new", False)
    assert order.sandbox.startswith(b"\x1f\x8b")
    (tmp_path / "taken.toml").write_text(WORKFLOW.replace("new", "taken"))
    assert "exists with other content" in (await run("submit", "taken.toml", code=Exit.FAILED)).stderr


@pytest.mark.feature("OPS-06")
async def test_transfers_are_tried_again_and_given_up(agent: Agent, run: Run) -> None:
    assert "1 transfer would be tried once more: 1" in (await run("transfers", "retry", "1", "--dry-run")).stdout
    order = RetryTransfers(ids=[1], who="anna", dry_run=True)
    assert agent.probe("transfer").messages[-1] == order
    assert "cancelled: 1" in (await run("transfers", "cancel", "--to", "gamma", "--reason", "theirs is right")).stdout
    order = CancelTransfers(destination="gamma", reason="theirs is right", who="anna")
    assert agent.probe("transfer").messages[-1] == order
    assert "either ids or --to" in (await run("transfers", "retry", "1", "--to", "gamma", code=Exit.USAGE)).stderr
    assert "expected ids" in (await run("transfers", "cancel", code=Exit.USAGE)).stderr


@pytest.mark.feature("PA-316", "PA-412", "PA-414", "OPS-06")
async def test_jobs_are_named_one_by_one_by_ranges_by_workflow_or_by_request(agent: Agent, run: Run) -> None:
    await run("kill", "5-7", "6", "--dry-run")
    assert agent.probe("error").messages[-1].jobs == [5, 6, 7]
    await run("kill", "--request", "req-7", "--dry-run")
    assert agent.probe("error").messages[-1].request == "req-7"
    await run("retry", "-w", "zmumu", "--code", "8021", "--site", "alpha", "--archived")
    order = RetryJobs(workflow="zmumu", code=8021, site="alpha", archived=True, who="anna")
    assert agent.probe("error").messages[-1] == order
    for words in (["7-5"], ["x"], ["-5"], ["5-"], ["0"], ["1-200000"], ["5", "-w", "zmumu"], []):
        asked = await run("kill", *words, code=Exit.USAGE)
        assert "expected" in asked.stderr or "No such option" in asked.stderr, words
    assert "there is no request 'reg-7'" in (await run("kill", "--request", "reg-7", code=Exit.FAILED)).stderr
    assert "job 999" in (await run("kill", "999", code=Exit.FAILED)).stderr


@pytest.mark.feature("PA-316")
async def test_what_is_killed_is_told_until_its_target_has_confirmed_it(agent: Agent, run: Run) -> None:
    await agent.store.write(lambda tx: jobs.kill(tx, [8], "wrong"))
    found = json.loads((await run("ending", "--json")).stdout)
    assert [(one["workflow"], one["attempts"], one["job"]) for one in found] == [("zmumu", 1, 8)]
    assert "zmumu" in (await run("ending", "7-8", "--workflow", "zmumu")).stdout
    assert "has not confirmed the end" in (await run("why", "job:8")).stdout.replace("\n", " ")
    assert "every target has confirmed every end" in (await run("ending", "5-7")).stdout
    assert json.loads((await run("status", "--json")).stdout)["ending"] == found


@pytest.mark.feature("OPS-06")
async def test_jobs_and_workflows_are_changed(agent: Agent, run: Run) -> None:
    assert "2 jobs queued again: 5, 6" in (await run("retry", "5", "6")).stdout
    assert agent.probe("error").messages[-1] == RetryJobs(jobs=[5, 6], who="anna")
    assert "nothing to do" in (await run("retry", "21", code=Exit.FAILED)).stderr
    assert "1 job would be killed: 5" in (await run("kill", "-w", "zmumu", "--reason", "wrong", "--dry-run")).stdout
    assert agent.probe("error").messages[-1] == KillJobs(workflow="zmumu", reason="wrong", who="anna", dry_run=True)
    assert "zmumu: held" in (await run("hold", "zmumu", "--reason", "repair")).stdout
    assert agent.probe("injector").messages[-1] == HoldWorkflow(
        workflow="zmumu", hold=True, reason="repair", who="anna"
    )
    assert "held: released" in (await run("release", "held")).stdout
    assert "17, 18: would be held" in (await run("hold", "job:17,18", "--for", "2 h", "--dry-run")).stdout
    order = agent.probe("steward").messages[-1]
    assert (order.scope, order.subjects, order.kind, order.who, order.dry_run) == (
        "job",
        ["17", "18"],
        "hold",
        "anna",
        True,
    )
    assert "alpha: in mode drain-merge" in (await run("site", "drain-merge", "alpha", "--reason", "flood")).stdout
    assert (agent.probe("steward").messages[-1].value, agent.probe("steward").messages[-1].until) == (
        "drain-merge",
        None,
    )
    assert "alpha: trusted" in (await run("site", "trust", "alpha")).stdout
    assert agent.probe("steward").messages[-1].until - time.time() == pytest.approx(6 * 3600, abs=60)
    assert "alpha: released" in (await run("release", "site:alpha")).stdout
    assert agent.probe("steward").messages[-1] == LiftControl(scope="site", subjects=["alpha"], kind="hold", who="anna")
    assert "alpha, beta: would be down" in (await run("confirm-feed", "--dry-run")).stdout
    assert "nothing is held" in (await run("holds")).stdout
    assert "enabled" in (await run("sites")).stdout
    for words, text in ((["hold", "cow:7"], "expected a workflow, agent, or one of"), (["hold", "job:x"], "numbers of jobs"),
                        (["hold", "agent", "--for", "soon"], 'expected a time such as')):  # fmt: skip
        assert text in (await run(*words, code=Exit.USAGE)).stderr
    assert "did you mean 'zmumu'" in (await run("hold", "zmum", code=Exit.FAILED)).stderr
    assert json.loads((await run("dlq", "replay", "--json")).stdout)["changed"] == [1]
    assert "1 dead letter would be dropped: 1" in (await run("dlq", "drop", "1", "--dry-run")).stdout
    assert "1 dead letter dropped: 1" in (await run("dlq", "drop", "1")).stdout
    assert agent.probe("postmaster").messages[-1] == DropLetters(facts=[1], who="anna")
    assert "no dead letter m9" in (await run("dlq", "replay", "m9", code=Exit.FAILED)).stderr


async def test_the_tree_is_shown_and_acted_on(agent: Agent, run: Run) -> None:
    text = (await run("actors")).stdout
    assert [line.split()[0] for line in text.splitlines()[1:4]] == ["agent", "stages", "injector"]
    assert "queue would be paused" in (await run("actors", "queue", "--pause", "--dry-run")).stdout
    assert "queue is paused" in (await run("actors", "queue", "--pause")).stdout
    assert json.loads((await run("actors", "queue", "--json")).stdout)["state"] == "paused"
    found = json.loads((await run("why", "17", "--json")).stdout)
    assert found["code"] == "actor-paused"
    await run("actors", "queue", "--resume")
    await run("actors", "queue", "--restart")
    assert "mailbox" in (await run("actors", "queue")).stdout
    assert "did you mean 'queue'" in (await run("actors", "quue", code=Exit.FAILED)).stderr


async def test_status_and_page_tell_where_it_serves(agent: Agent, run: Run) -> None:
    assert f"running: process {agent.file['pid']}, {agent.url}" in (await run("status")).stdout
    assert (await run("page")).stdout.strip() == f"{agent.url}/login?token={agent.file['token']}"
    assert agent.url in json.loads((await run("page", "--json")).stdout)["url"]


async def test_an_agent_that_is_gone_or_silent_is_told_apart(agent: Agent, run: Run) -> None:
    here = msgspec.convert(agent.file, AgentFile)
    (agent.state / "agent.json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(here, url="http://127.0.0.1:1"))
    )
    assert "does not answer at http://127.0.0.1:1" in (await run("retry", "5", code=Exit.NO_AGENT)).stderr
    gone = msgspec.structs.replace(here, url="http://127.0.0.1:1", pid=2**22 + 1)
    (agent.state / "agent.json").write_bytes(msgspec.json.encode(gone))
    assert "its process 4194305 is gone" in (await run("retry", "5", code=Exit.NO_AGENT)).stderr
    (agent.state / "agent.json").write_text("{")
    assert "cannot be read" in (await run("retry", "5", code=Exit.NO_AGENT)).stderr

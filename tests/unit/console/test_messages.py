"""The verbs for the event log and for the store, on a real store with a real admin actor."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from actors.messages import Compacted, CompactLog
from domain.events import Published
from services.console import database, messages
from services.console.commands import build
from services.console.exits import Exit
from storage import log
from storage.messages import MessageView, listed
from tests.integration.agent import Agent, running, workflow

Run = Callable[..., Awaitable[Result]]


@pytest.fixture
async def agent(tmp_path: Path) -> AsyncIterator[Agent]:
    async with running(tmp_path, admin=True, more="\n[backup]\nenabled = false\n") as started:
        await started.submit(workflow(events=20))
        await started.fact(_completed()).reached()
        yield started


def _completed() -> type:
    from domain.events import WorkflowsCompleted

    return WorkflowsCompleted


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    app = typer.Typer(pretty_exceptions_enable=False)
    build(app)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("LOGNAME", "anna")
    monkeypatch.setenv("PRODAGENT_CONFIG", str(tmp_path / "agent.toml"))

    async def invoke(*words: str, code: int = 0) -> Result:
        result: Result = await asyncio.to_thread(CliRunner().invoke, app, words, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke


async def audit(agent: Agent) -> list[tuple[str, str, str]]:
    from storage import views

    return [(row.who, row.verb, row.result) for row in await agent.world.store.read(lambda c: views.audited(c, 10))]


@pytest.mark.feature("PA-014")
async def test_the_log_is_looked_at(agent: Agent, run: Run) -> None:
    newest = json.loads((await run("msg", "list", "--limit", "3", "--json")).stdout)
    assert [fact["id"] for fact in newest] == sorted((fact["id"] for fact in newest), reverse=True)
    older = json.loads((await run("msg", "list", "--before", str(newest[-1]["id"]), "--limit", "1", "--json")).stdout)
    assert older[0]["id"] < newest[-1]["id"]
    ended = json.loads((await run("msg", "list", "-t", "JobsEnded", "--by", "tracker.alpha-local", "--json")).stdout)
    assert {fact["type"] for fact in ended} == {"JobsEnded"}
    assert sum(fact["items"] for fact in ended) == 3
    wrong = await run("msg", "list", "-t", "JobsEnd", code=Exit.FAILED)
    assert "there is no type of fact 'JobsEnd'; did you mean 'JobsEnded'?" in wrong.stderr
    counted = {row["type"]: row["kept"] for row in json.loads((await run("msg", "count", "--json")).stdout)}
    assert counted["WorkflowsAdded"] == 1
    history = json.loads((await run("msg", "history", "1", "--json")).stdout)
    assert [fact["type"] for fact in history["facts"]][:4] == [
        "JobsCreated",
        "JobsQueued",
        "JobsReleased",
        "JobsSubmitting",
    ]
    assert history["facts"][3]["sender"] == "submitter.alpha-local"
    assert history["before"] is None
    assert "WorkflowsAdded" in (await run("msg", "history", "workflow:1")).stdout
    assert "there is no job 999" in (await run("msg", "history", "999", code=Exit.FAILED)).stderr
    assert "did you mean 'file'" in (await run("msg", "history", "fil:1", code=Exit.FAILED)).stderr
    assert "expected a job's number" in (await run("msg", "history", "first", code=Exit.USAGE)).stderr
    names = {row["name"] for row in json.loads((await run("msg", "subscribers", "--json")).stdout)}
    assert {"error", "catalogue", "monitor"} <= names


@pytest.mark.feature("PA-014")
async def test_facts_are_published_and_removed(agent: Agent, run: Run) -> None:
    store = agent.world.store
    assert "would be published" in (await run("msg", "publish", "calibration", "--dry-run")).stdout
    assert await store.read(lambda c: log.after(c, 0, [Published], 10)) == []
    before = await store.read(log.last)
    said = (await run("msg", "publish", "calibration", "--body", '{"run": 17}')).stdout
    (fact,) = await store.read(lambda c: log.after(c, before, [Published], 10))
    assert said.strip() == f"calibration is fact {fact.id}"
    assert (fact.fact.topic, fact.fact.body) == ("calibration", {"run": 17})
    (view,) = await store.read(lambda c: listed(c, types=["Published"], limit=5))
    assert isinstance(view, MessageView)
    assert view.sender == "operator anna"
    await store.write(lambda tx: log.begin(tx, "ours"))
    await store.write(lambda tx: log.park(tx, "ours", fact.id, "no", []))
    number = str(fact.id)
    assert "say --yes, or look first with --dry-run" in (await run("msg", "remove", number, code=Exit.USAGE)).stderr
    assert "would be removed" in (await run("msg", "remove", number, "--dry-run")).stdout
    assert "removed" in (await run("msg", "remove", number, "--yes")).stdout
    assert await store.read(lambda c: log.after(c, before, [Published], 10)) == []
    assert await store.read(log.parked_facts) == []
    again = (await run("msg", "publish", "calibration")).stdout
    assert int(again.split()[-1]) > fact.id, "its number is not given again"
    assert "there is no fact" in (await run("msg", "remove", number, "--yes", code=Exit.FAILED)).stderr
    refused = (await run("msg", "remove", "1", "--yes", code=Exit.FAILED)).stderr
    assert "fact 1 (WorkflowsAdded) moved items, whose state is proved from it" in refused
    assert "expected a JSON object" in (await run("msg", "publish", "x", "--body", "[1]", code=Exit.USAGE)).stderr
    lines = await audit(agent)
    assert [verb for _, verb, _ in lines[:4]] == ["messages/remove", "messages/remove", "messages", "messages/remove"]
    assert {who for who, _, _ in lines[:4]} == {"anna"}
    assert lines[0][2].startswith("refused: fact 1")
    unread = await run("msg", "forget", "ours", "--yes")
    assert re.search(r"ours forgotten; it had not read \d+ facts", unread.stdout)
    assert "there is no subscriber 'ours'" in (await run("msg", "forget", "ours", "--yes", code=Exit.FAILED)).stderr


@pytest.mark.feature("PA-010", "PA-014")
async def test_a_fact_waits_once_for_its_time(agent: Agent, run: Run) -> None:
    waits = (await run("msg", "publish", "tidy", "--delay", "3600", "--unique", "tidy")).stdout
    assert waits == (await run("msg", "publish", "tidy", "--unique", "tidy")).stdout == "tidy waits as number 1\n"
    assert "--delay" in (await run("msg", "publish", "tidy", "--delay", "-1", code=Exit.USAGE)).stderr


@pytest.mark.feature("PA-014", "PA-018")
async def test_compaction_on_command(agent: Agent, run: Run) -> None:
    dry = json.loads((await run("msg", "compact", "--dry-run", "--json")).stdout)
    assert dry["facts"] == 0
    answer = await agent.system.ref("keeper").ask(CompactLog(dry_run=True))
    assert isinstance(answer, Compacted)
    assert "facts (0 bytes) compacted; the next one is kept by" in (await run("msg", "compact")).stdout


@pytest.mark.feature("OPS-16", "REL-06")
async def test_snapshots_and_checks(agent: Agent, run: Run, tmp_path: Path) -> None:
    assert "no snapshot" in (await run("db", "snapshots")).stdout
    assert "there is no snapshot" in (await run("db", "restore", "latest", code=Exit.FAILED)).stderr
    made = json.loads((await run("db", "backup", "--json")).stdout)
    assert Path(made["path"]).stat().st_size == made["size"]
    assert json.loads((await run("db", "snapshots", "--json")).stdout) == [made]
    found = json.loads((await run("db", "check", "--json")).stdout)
    assert (found["damage"], found["snapshot_age"] < 60) == ([], True)
    assert "newest snapshot of the store: " in (await run("status")).stdout
    assert "never restored" in (await run("db", "report", code=Exit.FAILED)).stderr
    assert "would be restored" in (await run("db", "restore", "latest", "--dry-run")).stdout
    assert "is in use by process" in (await run("db", "restore", made["path"], code=Exit.NO_STORE)).stderr


@pytest.mark.feature("OPS-16", "REL-06", "PA-022")
async def test_restore_and_copy_without_an_agent(run: Run, tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        await agent.submit(workflow(events=20))
        await agent.fact(_completed()).reached()
    await run("db", "backup")
    assert "is restored: run the agent" in (await run("db", "restore", "latest")).stdout
    assert "being found out" in (await run("db", "report")).stdout
    url, target = (f"sqlite:///{tmp_path}/{name}.db" for name in ("state/agent", "copy"))
    rows = {row["table"]: row["rows"] for row in json.loads((await run("db", "copy", url, target, "--json")).stdout)}
    assert rows["job"] == 3
    assert "is not empty" in (await run("db", "copy", url, target, code=Exit.NO_STORE)).stderr
    assert "expected sqlite:///" in (await run("db", "copy", "nonsense", target, code=Exit.NO_STORE)).stderr


def test_each_verb_has_help_with_an_example_and_a_heading() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "commands.md").read_text()
    for group, app in (("msg", messages.app), ("db", database.app)):
        for command in app.registered_commands:
            assert command.callback is not None
            name = command.name or command.callback.__name__
            name = "backup" if name == "take_backup" else name
            assert "run_agent.py" in (command.callback.__doc__ or ""), name
            assert f"### {group} {name}\n" in page

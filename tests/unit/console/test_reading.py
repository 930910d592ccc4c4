"""The verbs that look, over a store without an agent."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import typer
from typer.testing import CliRunner, Result

from services.console.commands import VERBS, build, find
from services.console.exits import MEANING, Exit
from services.console.later import built
from services.console.program import program
from tests.unit.admin import filled

CONFIG = """
[agent]
name = "here"
store = "sqlite:///agent.db"
state = "."

[sites.alpha.storage]
kind = "posix"
[sites.alpha.targets.alpha-batch]
kind = "local"
limits = { processing = 5 }
[sites.gamma.storage]
kind = "posix"
"""
Run = Callable[..., Result]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("agent")
    (made / "prodagent.toml").write_text(CONFIG)

    async def fill() -> None:
        await (await filled.opened(made)).close()

    asyncio.run(fill())
    return made


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    app = typer.Typer(pretty_exceptions_enable=False)
    build(app)
    monkeypatch.chdir(place)
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*words: str, code: int = 0) -> Result:
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == code, result.output
        return result

    return invoke


def data(run: Run, *words: str, code: int = 0) -> Any:
    return json.loads(run(*words, "--json", code=code).stdout)


@pytest.mark.feature("OPS-06")
def test_status_shows_the_ledger_without_an_agent(run: Run) -> None:
    text = run("status").stdout
    assert "the agent does not run: there is no" in text
    assert "zmumu" in text
    assert "20,000" in text
    assert "stage-out failed" in text
    seen = data(run, "status")
    assert seen["running"] is False
    assert seen["workflows"][0]["merged"] == 3000
    assert seen["totals"]["lost"] == 2000


def test_jobs_are_listed_and_filtered(run: Run) -> None:
    assert [job["id"] for job in data(run, "jobs", "-n", "2")] == [22, 21]
    assert [job["id"] for job in data(run, "jobs", "--state", "failed", "--state", "running")] == [14, 7]
    assert "no such job" in run("jobs", "--state", "lost").stdout
    assert "did you mean 'zmumu'" in run("jobs", "-w", "zmum", code=Exit.FAILED).stderr
    run("jobs", "--state", "none", code=Exit.USAGE)


def test_one_job_with_its_attempts(run: Run) -> None:
    text = run("job", "14").stdout
    assert "no space left <b>here</b>" in text
    assert "last lines" in text
    assert "JobsFailed" in text
    assert data(run, "job", "14")["attempts_made"][0]["exit_code"] == 60311
    assert "the newest is 22" in run("job", "99", code=Exit.FAILED).stderr


@pytest.mark.feature("OPS-09")
def test_why_says_that_nothing_moves_without_an_agent(run: Run) -> None:
    found = data(run, "why", "17")
    assert (found["code"], found["owner"]) == ("no-agent", "operator")
    assert "a place is free" in found["text"]
    assert data(run, "why", "12")["code"] == "killed"
    assert "behind it: 1 items" in run("why", "zmumu").stdout
    assert data(run, "why", "file:/store/mc/merged.txt")["state"] == "catalogued"
    failed = data(run, "why", "zmum", code=Exit.FAILED)
    assert failed["error"]["exit"] == Exit.FAILED
    assert "did you mean" in failed["error"]["text"]


def test_files_alerts_and_dead_letters(run: Run) -> None:
    assert data(run, "files", "--state", "catalogued")[0]["lfn"] == "/store/mc/merged.txt"
    assert "merged from" in run("files", "--name", "/store/mc/merged.txt").stdout
    assert data(run, "files", "--name", "5")["parents"]
    assert "jobs-exhausted" in run("alerts").stdout
    assert "waits for you" in run("dlq", "list").stdout
    assert "somewhere" in run("dlq", "show", "1").stdout
    assert "there is no dead letter 7, m8" in run("dlq", "show", "1", "7", "m8", code=Exit.FAILED).stderr
    assert "expected an id of `dlq list`" in run("dlq", "show", "x1", code=Exit.USAGE).stderr


@pytest.mark.parametrize(
    "words",
    [("actors",), ("actors", "merge", "--restart"), ("retry", "5"), ("kill", "5"), ("hold", "zmumu"), ("release", "zmumu"),
     ("dlq", "replay"), ("page",)],
)  # fmt: skip
def test_acting_needs_the_agent(run: Run, place: Path, words: tuple[str, ...]) -> None:
    assert str(place / "agent.json") in run(*words, code=Exit.NO_AGENT).stderr.replace("\n", "")


def test_bad_usage_is_told_apart(run: Run, place: Path) -> None:
    assert "--workflow NAME" in run("retry", code=Exit.USAGE).stderr
    assert "--workflow NAME" in run("kill", "5", "-w", "zmumu", code=Exit.USAGE).stderr
    assert "name of an actor" in run("actors", "--restart", code=Exit.USAGE).stderr
    assert "a readable file" in run("submit", "none.toml", code=Exit.USAGE).stderr
    (place / "odd.toml").write_text("name = 3\nevent = 1\n")
    assert "did you mean 'events'" in run("submit", "odd.toml", code=Exit.USAGE).stderr


def test_a_store_or_configuration_that_will_not_do(run: Run, tmp_path: Path) -> None:
    assert "no such file" in run("status", "-c", "none.toml", code=Exit.BAD_CONFIG).stderr
    other = tmp_path / "other.toml"
    other.write_text(CONFIG)
    assert "no store" in run("status", "-c", str(other), code=Exit.NO_STORE).stderr
    (tmp_path / "agent.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert "damaged" in run("status", "-c", str(other), code=Exit.NO_STORE).stderr
    (tmp_path / "agent.db").write_bytes(b"")
    assert "the agent's next start mends that" in run("status", "-c", str(other), code=Exit.NO_STORE).stderr


def test_the_environment_names_the_configuration(run: Run, place: Path, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PRODAGENT_CONFIG", str(place / "prodagent.toml"))
    assert len(data(run, "jobs")) == 22


def test_configurations(run: Run, tmp_path: Path) -> None:
    made = str(tmp_path / "new.toml")
    run("config", "new", made, "--minimal")
    assert "expected a new file" in run("config", "new", made, code=Exit.FAILED).stderr
    run("config", "check", "-c", made)
    Path(made).write_text("[agent]\nnam = 'x'\n")
    assert "did you mean 'name'" in run("config", "check", "-c", made, code=Exit.BAD_CONFIG).stderr
    assert data(run, "config", "check", "-c", made, code=Exit.BAD_CONFIG)
    assert "absence is not judged" in run("config", "explain", "tracker.grace_s").stdout
    assert "did you mean" in run("config", "explain", "tracker.grase_s", code=Exit.FAILED).stderr
    assert data(run, "config", "diff")[0]["key"] == "agent.name"


def test_each_verb_has_help_with_an_example(run: Run) -> None:
    names = [name for name, verb in VERBS.items() if not verb.place.endswith(":app")]
    assert len(names) >= 15
    for words in (
        [[name] for name in names]
        + [["config", name] for name in ("check", "explain", "new", "diff")]
        + [["dlq", name] for name in ("list", "show", "replay", "drop")]
    ):
        text = run(*words, "--help").stdout
        assert "Example" in text, words
        assert "run_agent.py" in text, words


def test_the_list_of_verbs_says_of_each_what_its_help_begins_with() -> None:
    listed = {name: verb.text for name, verb in VERBS.items()}
    own = {
        name: " ".join((built(name, find(verb)).help or "").split("\n\n")[0].split()) for name, verb in VERBS.items()
    }
    assert listed == own
    app = program(Mock(side_effect=AssertionError("nothing is imported to list what there is")))
    for name, text in listed.items() | {("run", "Run an agent until"), ("simulate", "Try the agent in a world")}:
        shown = " ".join(CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout.replace("│", "").split())
        assert f"{name} {text.replace('`', '')}" in shown


def test_the_exit_codes_are_documented() -> None:
    assert set(MEANING) == set(Exit)
    page = (Path(__file__).parents[3] / "docs" / "reference" / "commands.md").read_text()
    for code, meaning in MEANING.items():
        assert f"| {code.value} | {meaning} |" in page
    for name in VERBS:
        assert f"### {name}" in page

"""The command: what it prints, how it ends, how a failure is seen again."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from run_agent import agent
from services.console.program import program
from tests.unit.simulation.worlds import TINY, world


def toml(table: dict[str, Any]) -> str:
    """Return a world as TOML: inline tables all the way down."""

    def value(item: Any) -> str:
        if isinstance(item, dict):
            return "{" + ", ".join(f"{key} = {value(inner)}" for key, inner in item.items()) + "}"
        if isinstance(item, list):
            return "[" + ", ".join(map(value, item)) + "]"
        return json.dumps(item)

    return "\n".join(f"{key} = {value(item)}" for key, item in table.items())


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(toml(world(TINY)))
    return path


def simulate(*words: object) -> Result:
    return CliRunner().invoke(program(agent), ["simulate", *map(str, words)])


def test_a_table_for_people(scenario: Path) -> None:
    answer = simulate(scenario)
    assert answer.exit_code == 0, answer.output
    assert "events done" in answer.output
    assert "tiny: 20 of 20 events delivered; every law held" in answer.output


def test_side_by_side_for_programs(scenario: Path) -> None:
    scenario.write_text(toml(world(TINY, happens=[{"what": "site-down", "site": "a", "at": "10 min", "for": "3 h"}])))
    answer = simulate(scenario, "--compare", "--json")
    assert answer.exit_code == 0, answer.output
    with_it, without = json.loads(answer.stdout)
    assert with_it["measures"]["finished_at"] > without["measures"]["finished_at"]
    assert without["measures"]["failed"] == 0


def test_many_histories(scenario: Path) -> None:
    answer = simulate(scenario, "--seeds", 3, "--workers", 1, "--json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout) == {
        "histories": 3, "done": 3, "kills": 0, "delivered": 60, "lost": 0, "failed": {}, "short": {},
    }  # fmt: skip


def test_what_is_unfinished_is_no_success(scenario: Path) -> None:
    scenario.write_text(toml(world(TINY, duration="10 min")))
    answer = simulate(scenario)
    assert answer.exit_code == 5, answer.output
    assert "tiny: 0 of 20 events delivered; 20 unfinished; every law held" in " ".join(answer.output.split())
    many = simulate(scenario, "--seeds", 2, "--workers", 1, "--json")
    assert many.exit_code == 5, many.output
    assert len(json.loads(many.stdout)["short"]) == 2


def test_a_kill_is_replayed(scenario: Path) -> None:
    answer = simulate(scenario, "--kill", "0:150", "--json")
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["kills"] == 1


def test_bad_input_is_refused(scenario: Path, tmp_path: Path) -> None:
    wrong = simulate(scenario, "--kill", "soon")
    assert wrong.exit_code == 2
    assert "expected LIFE:STEP" in wrong.output
    for picture, expected in (
        (tmp_path / "absent" / "x.png", "a directory that is there"),
        (tmp_path / "x.docx", "x.png, .svg"),
    ):
        nowhere = simulate(scenario, "--plot", str(picture))
        assert nowhere.exit_code == 2
        assert expected in nowhere.output.replace("\n", " ")
    scenario.write_text(toml(world(TINY, pase="1 h")))
    refused = simulate(scenario)
    assert refused.exit_code == 78
    assert "did you mean 'pace'?" in refused.output
    assert simulate(tmp_path / "absent.toml").exit_code == 78

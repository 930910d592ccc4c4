"""A scenario says what is wrong with it, all of it, and what was probably meant."""

from pathlib import Path
from typing import Any

import pytest

from config.faults import Faults
from domain.spans import seconds
from services.simulation.scenario import NEEDS, load, read
from services.simulation.settings import agent_settings
from tests.unit.simulation.worlds import world

EXAMPLES = sorted((Path(__file__).parents[3] / "examples" / "scenarios").glob("*.toml"))


def faults_of(data: dict[str, Any]) -> str:
    with pytest.raises(Faults) as caught:
        read(data, "w.toml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("span", "expected"),
    [("90 s", 90.0), ("15min", 900.0), ("1.5 h", 5400.0), ("7 d", 604800.0), ("1 y", 31536000.0), ("50 ms", 0.05)],
)
def test_times_have_units(span: str, expected: float) -> None:
    assert seconds(span) == expected


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_can_be_used(path: Path, tmp_path: Path) -> None:
    scenario = load(path)
    assert set(agent_settings(scenario, tmp_path).sites) == set(scenario.sites)


def test_there_are_examples() -> None:
    assert {"site-down", "rough", "year"} <= {path.stem for path in EXAMPLES}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"duraton": "3 d"}, "w.toml: duraton: got an unknown key, expected a known key; did you mean 'duration'?"),
        ({"pace": "5"}, "pace: got '5', expected text: a time above 0 such as"),
        ({"pace": "0 s"}, "pace: got '0 s', expected text: a time above 0 such as"),
        (
            {"happens": [{"what": "agent-kills", "every": "0.0 h"}]},
            "happens[0].every: got '0.0 h', expected text: a time above 0",
        ),
        ({"happens": [{"what": "site-dwon", "site": "a", "for": "1 d"}]}, "did you mean 'site-down'?"),
        ({"happens": [{"what": "site-down", "site": "A", "for": "1 d"}]}, "happens[0].site: got 'A'"),
        ({"happens": [{"what": "site-down", "site": "a"}]}, "site-down needs site, for; there is no for"),
        ({"happens": [{"what": "prodmgr-away", "for": "1 d", "site": "a"}]}, "takes at, for; got site too"),
        ({"happens": [{"what": "failures", "target": "ta", "share": 2.0}]}, "happens[0].share: got 2.0"),
        ({"sites": {"a": {}}}, "no site has a target"),
        ({"agent": {"merge": {"swep_s": 5.0}}}, "agent.merge.swep_s: got an unknown key"),
    ],
)
def test_what_is_wrong_is_said(changes: dict[str, Any], expected: str) -> None:
    assert expected in faults_of(world(**changes))


def test_everything_wrong_is_said_at_once() -> None:
    text = faults_of(world(pace="soon", poll="often", seed=-1))
    assert text.startswith("3 faults:")


@pytest.mark.parametrize("name", sorted(NEEDS))
def test_everything_that_may_happen_names_what_it_needs(name: str) -> None:
    assert "needs" in faults_of(world(happens=[{"what": name}]))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(Faults, match="cannot be read: No such file"):
        load(tmp_path / "absent.toml")
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(Faults, match="not TOML"):
        load(tmp_path / "bad.toml")

"""The directory of a demonstration: made fresh, never over foreign files, with a configuration that holds."""

import tomllib
from pathlib import Path

import pytest

from config.loader import load
from config.workflow_file import load_workflow
from services.demo.options import DemoError, DemoOptions
from services.demo.place import Place, write_config, write_workflow


@pytest.fixture
def place(tmp_path: Path) -> Place:
    made = Place(tmp_path / "run")
    made.make()
    return made


def test_refuses_a_directory_with_foreign_files(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(DemoError, match=r"holds other files; expected an empty directory or that of an earlier demo"):
        Place(tmp_path).make()
    assert (tmp_path / "thesis.tex").exists()


def test_takes_an_empty_directory(tmp_path: Path) -> None:
    Place(tmp_path).make()
    assert Place(tmp_path).storage("gamma").is_dir()


def test_makes_an_earlier_demonstration_anew(place: Place) -> None:
    old = place.storage("alpha") / "old.root"
    old.touch()
    place.make()
    assert not old.exists()
    assert place.storage("alpha").is_dir()


@pytest.mark.parametrize("chaos", [False, True])
def test_writes_a_configuration_that_the_agent_takes(place: Place, chaos: bool) -> None:
    place.agent_token.write_text("secret\n")
    write_config(place, manager_url="http://127.0.0.1:8400", chaos=chaos)
    settings = load(place.config).settings
    assert list(settings.sites) == ["alpha", "beta", "gamma"]
    assert not settings.sites["gamma"].targets
    assert settings.admin.faults is chaos
    environment = settings.sites["alpha"].targets["alpha-local"].environment
    assert ("PRODAGENT_DEMO_FAULTS" in environment) is chaos
    assert settings.sites["alpha"].targets["alpha-local"].options["slots"] == 1


def test_paths_with_quotes_and_spaces_survive(tmp_path: Path) -> None:
    place = Place(tmp_path / 'a "b" \\ c')
    place.make()
    write_config(place, manager_url="http://127.0.0.1:1", chaos=False)
    assert tomllib.loads(place.config.read_text())["sites"]["gamma"]["storage"]["root"] == str(place.storage("gamma"))


@pytest.mark.parametrize(
    ("events", "each"),
    [(1, 1), (20, 1), (333, 17), (20_000, 1000), (2_000_000, 1000)],
)
@pytest.mark.parametrize("example", ["zmumu", "plain"])
def test_cuts_any_number_of_events_into_about_twenty_jobs(place: Place, events: int, each: int, example: str) -> None:
    write_workflow(place, DemoOptions(events=events, example=example))  # type: ignore[arg-type]
    spec = load_workflow(place.workflow).spec
    assert (spec.events, spec.events_per_job, spec.merge.max_events) == (events, each, 5 * each)
    assert spec.deliver_to == ["gamma"]

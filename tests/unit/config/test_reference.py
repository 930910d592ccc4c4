"""The example, the reference page and the structs say the same."""

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from config.faults import convert_collecting
from config.keys import all_keys, flat, matches, plain, toml
from config.loader import ConfigError, load
from config.reference import render
from config.settings import Agent, Settings
from config.verbs import check, diff, example, explain, new

pytestmark = pytest.mark.feature("OPS-03")
ROOT = Path(__file__).parents[3]
SWITCHED_ON = re.sub(r"(?m)^#(?=\[|[a-z_]+ = )", "", example())


def defaults(name: str = "demo") -> Settings:
    return Settings(agent=Agent(name=name))


def test_the_examples_load(tmp_path: Path) -> None:
    for minimal in (True, False):
        path = tmp_path / f"{minimal}.toml"
        new(path, minimal=minimal)
        assert check(path) == []
        assert load(path).settings.agent.name == "demo"
    assert len(example(minimal=True).splitlines()) < 15


def test_the_example_names_every_key_and_no_other() -> None:
    written = {path for path, _ in flat(tomllib.loads(SWITCHED_ON))}
    keys = [key for key in all_keys() if key.table is None and not key.free]
    assert [key.path for key in keys if not any(matches(key, path) for path in written)] == []
    unknown = {path for path in written if not any(matches(key, path) for key in keys)}
    local = {"sites.here.targets.local.directory", "sites.here.targets.local.slots"}
    assert unknown == {"sites.here.storage.root", *local}


def test_the_example_shows_the_defaults() -> None:
    written = dict(flat(tomllib.loads(SWITCHED_ON)))
    for key in all_keys():
        if key.table is None and not key.free and key.default not in (None, msgspec.UNSET):
            values = [value for path, value in written.items() if matches(key, path)]
            assert values, key.path
            assert all(value == plain(key.default) for value in values), key.path


def test_each_key_of_the_example_is_explained_as_in_the_structs() -> None:
    lines = example().splitlines()
    for key in all_keys():
        if key.table is None and not key.free:
            note = f"# {key.about}{' (restart)' if key.restart else ''}"
            assert any(
                line == note and re.match(rf"#?{key.name} = ", after) for line, after in itertools.pairwise(lines)
            ), key.path


def test_every_key_has_a_description() -> None:
    assert [key.path for key in all_keys() if not key.about] == []


def test_the_reference_page_is_up_to_date() -> None:
    assert (ROOT / "docs/reference/configuration.md").read_text(encoding="utf-8") == render()


def test_the_defaults_round_trip() -> None:
    value, faults = convert_collecting(plain(defaults()), Settings, "f")
    assert (value, faults) == (defaults(), [])


def _values(default: Any) -> st.SearchStrategy[Any]:
    if isinstance(default, bool):
        return st.booleans()
    if isinstance(default, float):
        return st.floats(min_value=0.01, max_value=1.0)
    return st.integers(min_value=1, max_value=65535) if isinstance(default, int) else st.just(default)


TABLES = ("admin", "queue", "tracker", "report", "errors", "merge", "catalogue", "cleanup", "events")
CHANGED = st.fixed_dictionaries(
    {
        table: st.fixed_dictionaries({}, optional={name: _values(value) for name, value in held.items()})
        for table, held in plain(defaults()).items()
        if table in TABLES
    }
)


@hypothesis_settings(deadline=None)
@given(CHANGED)
def test_whatever_is_set_survives_being_written_and_read(data: dict[str, Any]) -> None:
    settings, faults = convert_collecting({"agent": {"name": "a"}, **data}, Settings, "f")
    assert faults == []
    text = "\n".join(
        f"[{table}]\n" + "\n".join(f"{key} = {toml(value)}" for key, value in held.items())
        for table, held in plain(settings).items()
        if isinstance(held, dict)
    )
    assert convert_collecting(tomllib.loads(text), Settings, "f") == (settings, [])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ("sites.alpha.targets.a.poll_s", "default: 5.0"),
        ("prodmgr[0].poll_s", "default: 60.0"),
        ("prodmgr", "holds: name, url, token_file"),
        ("sites.alpha", "holds: enabled, storage, targets"),
        ("sites", "holds: enabled, storage, targets"),
        ("agent.name", "default: none, it must be given\n  a change needs a restart"),
        ("agent.store", "its value is never shown"),
        ("token_env", "default: not set"),
        ("grace_s", "tracker.grace_s\n  absence is not judged sooner"),
    ],
)
def test_explain(asked: str, expected: str) -> None:
    assert expected in explain(asked)


def test_explain_names_the_nearest_key() -> None:
    with pytest.raises(LookupError, match=r"got the key 'agent.stor'.*did you mean 'agent.store'"):
        explain("agent.stor")


def test_new_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text("mine", encoding="utf-8")
    with pytest.raises(ConfigError, match="cannot be written: File exists"):
        new(path)
    assert path.read_text(encoding="utf-8") == "mine"


def test_diff_shows_what_was_set_and_what_needs_a_restart(tmp_path: Path) -> None:
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    new(one, minimal=True)
    more = 'password = "hush"\nmax_submit = 10\npoll_s = 5.0\n[sites.here.targets.local.environment]\nA = "1"\n'
    two.write_text(example(minimal=True) + more, encoding="utf-8")
    assert [str(change) for change in diff(one, two)] == [
        "sites.here.targets.local.max_submit: 500 -> 10",
        'sites.here.targets.local.environment.A: not set -> "1"',
        "sites.here.targets.local.password: not set -> (not shown)",
    ]
    assert [change.key for change in diff(one)] == [
        "agent.name",
        "sites.here.storage.kind",
        "sites.here.storage.root",
        "sites.here.targets.local.kind",
        "sites.here.targets.local.directory",
    ]

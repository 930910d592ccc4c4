"""Hosts in a configuration: who names one must name one that is there."""

from pathlib import Path

import pytest

from backends.opening import settings_of, stage_out_rules
from config.loader import ConfigError, load

pytestmark = pytest.mark.feature("PA-305", "OPS-03")
TEXT = """
[agent]
name = "a"
[hosts.gate]
{gate}
[hosts.alps]
address = "10.0.0.1"
port = 2222
user = "prod"
jump = "{jump}"
[sites.alps.storage]
kind = "sftp"
host = "{storage}"
root = "/scratch"
{more}
[sites.alps.targets.batch]
kind = "local"
directory = "batch"
"""


def written(tmp_path: Path, **changed: str) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text(TEXT.format(**{"gate": "", "jump": "gate", "storage": "alps", "more": "", **changed}))
    return path


def faults(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load(path, settings_of)
    return str(caught.value)


def test_what_names_a_host_that_is_there_loads(tmp_path: Path) -> None:
    loaded = load(written(tmp_path), settings_of)
    assert loaded.settings.hosts["alps"].jump == "gate"
    assert stage_out_rules(loaded)["alps"] == [{"kind": "posix", "root": "/scratch"}]


def test_a_node_that_does_not_mount_it_is_told_the_address(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, more="nodes_mount = false"), settings_of)
    rule = {"kind": "sftp", "root": "/scratch", "host": "10.0.0.1", "port": 2222, "user": "prod"}
    assert stage_out_rules(loaded)["alps"] == [rule]


def test_a_host_without_a_table_is_refused_with_the_nearest(tmp_path: Path) -> None:
    said = faults(written(tmp_path, storage="alp"))
    assert "sites.alps.storage.host" in said
    assert "'alps'" in said
    assert "hosts.alps.jump" in faults(written(tmp_path, jump="gat"))
    said = faults(written(tmp_path, storage="zzz"))
    assert "sites.alps.storage.host: got 'zzz', expected a table hosts.zzz" in said, "also where none is near"


def test_a_way_that_comes_back_to_itself_is_refused(tmp_path: Path) -> None:
    assert "alps -> gate -> alps" in faults(written(tmp_path, gate='jump = "alps"'))


@pytest.mark.feature("PA-322")
def test_outputs_fall_back_to_another_site_that_can_merge_them(tmp_path: Path) -> None:
    tape = '[sites.tape.storage]\nkind = "posix"\nroot = "/tape"\n'
    other = (
        tape
        + '[sites.bern.storage]\nkind = "posix"\nroot = "/b"\n[sites.bern.targets.b]\nkind = "local"\ndirectory = "b"\n'
    )
    for name in ("tape", "alps", "nowhere"):
        path = written(tmp_path)
        path.write_text(f'{path.read_text()}{other}[sites.alps]\nstage_out_fallback = ["bern", "{name}"]\n')
        said = faults(path)
        assert f"sites.alps.stage_out_fallback: got '{name}', expected another site with a target: bern" in said
    path = written(tmp_path)
    path.write_text(f'{path.read_text()}{other}[sites.alps]\nstage_out_fallback = ["bern"]\n')
    assert load(path, settings_of).settings.sites["alps"].stage_out_fallback == ["bern"]

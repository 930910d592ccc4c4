"""One file for every Python: always the same bytes, no newer syntax, no foreign modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import runtime
from domain import exit_codes
from domain.rules import UNKNOWN, classify
from runtime import build as build_module
from runtime import codes
from runtime.build import archive, build
from runtime.spec import EXAMPLE, faults
from tests.unit.runtime.pythons import interpreters

SOURCES = sorted(Path(runtime.__file__).parent.glob("*.py"))


def test_the_same_sources_make_the_same_file(tmp_path: Path) -> None:
    first = build(tmp_path / "a")
    stamp = first.stat().st_mtime_ns
    assert build(tmp_path / "a") == first
    assert first.stat().st_mtime_ns == stamp
    assert build(tmp_path / "b").read_bytes() == first.read_bytes() == archive()
    assert [path.name for path in (tmp_path / "a").iterdir()] == [first.name]


def test_another_content_has_another_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = build(tmp_path)
    monkeypatch.setattr(build_module, "MAIN", b"pass\n")
    assert build(tmp_path).name != first.name


@pytest.mark.feature("PA-319")
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.name)
def test_every_source_is_python_3_6_with_the_standard_library(source: Path) -> None:
    tree = ast.parse(source.read_text(), feature_version=(3, 6))
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.partition(".")[0] in sys.stdlib_module_names | {"runtime"}


@pytest.mark.feature("PA-319")
def test_nothing_is_used_that_python_3_6_has_not() -> None:
    """But for what is asked for by `hasattr` first."""
    command = [str(Path(sys.executable).with_name("vermin")), "-t=3.6-", "--violations", "--backport=typing"]
    for name in ("pidfd_open", "posix_spawn", "POSIX_SPAWN_OPEN", "POSIX_SPAWN_DUP2"):
        command += ["--exclude", f"os.{name}"]
    done = subprocess.run([*command, *map(str, SOURCES)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.feature("PA-319")
def test_the_runtime_is_tried_with_more_than_one_python() -> None:
    """On Debian 12 besides its own Python 3.11 that is PyPy 3.9 (.ci/system)."""
    told = [subprocess.check_output([python, "-VV"], text=True) for python in interpreters()]
    assert len(set(told)) >= 2


def test_the_codes_are_those_of_the_domain() -> None:
    ours = {name: number for name, number in vars(codes).items() if name.isupper()}
    theirs = {name: number for name, number in vars(exit_codes).items() if name in ours}
    assert theirs == {name: number for name, number in ours.items() if name in theirs}
    assert [name for name, number in ours.items() if number and classify(number) is UNKNOWN] in ([], ["RUNTIME_FAILED"])


def test_the_example_is_a_valid_specification() -> None:
    assert faults(EXAMPLE) == []

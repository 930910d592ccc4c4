"""The programs of the examples, run as a job would run them."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"


def run(script: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLES / script), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def make(script: str, path: Path, first: int, events: int, seed: int = 5, **environment: str) -> None:
    done = run(script, "--events", events, "--first", first, "--seed", seed, "--output", path, **environment)
    assert (done.returncode, done.stderr) == (0, "")


class TestPlain:
    def test_the_same_job_gives_the_same_bytes(self, tmp_path: Path) -> None:
        make("plain/make.py", tmp_path / "a", 11, 10)
        make("plain/make.py", tmp_path / "b", 11, 10)
        make("plain/make.py", tmp_path / "c", 11, 10, seed=6)
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()
        assert (tmp_path / "a").read_text().startswith("event 11 seed 5 value ")

    def test_check_finds_what_is_missing_doubled_and_foreign(self, tmp_path: Path) -> None:
        make("plain/make.py", tmp_path / "a.txt", 1, 10)
        make("plain/make.py", tmp_path / "b.txt", 11, 10)
        whole = run("plain/check.py", "--events", 20, tmp_path)
        assert (whole.returncode, whole.stdout) == (0, "20 of 20 events are there exactly once; files: 2\n")
        missing = run("plain/check.py", "--events", 30, tmp_path)
        assert (missing.returncode, missing.stdout[:9]) == (1, "20 of 30 ")
        foreign = run("plain/check.py", "--events", 15, tmp_path)
        assert (foreign.returncode, foreign.stderr) == (1, "0 are there more than once, 5 were not asked for\n")
        doubled = run("plain/check.py", "--events", 20, tmp_path, tmp_path / "a.txt")
        assert (doubled.returncode, doubled.stderr) == (1, "10 are there more than once, 0 were not asked for\n")

    def test_check_refuses_lines_of_another_kind(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("event one\n")
        done = run("plain/check.py", "--events", 1, tmp_path)
        assert done.returncode == 1
        assert "the line 'event one\\n', expected `event NUMBER" in done.stderr

    def test_exactly_one_job_fails_when_asked(self, tmp_path: Path) -> None:
        (tmp_path / "exit-once").touch()
        arguments = ("--events", 1, "--first", 1, "--seed", 1, "--output", tmp_path / "out")
        codes = [run("plain/make.py", *arguments, PRODAGENT_DEMO_FAULTS=str(tmp_path)).returncode for _ in range(3)]
        assert codes == [65, 0, 0]

    def test_a_share_of_the_attempts_fails(self, tmp_path: Path) -> None:
        arguments = ("--events", 1, "--first", 1, "--seed", 1, "--output", tmp_path / "out", "--fail-percent", 100)
        assert "on purpose" in run("plain/make.py", *arguments).stderr


PHYSICS = ("pythia8mc", "uproot", "matplotlib")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("zmumu")
    make("zmumu/generate.py", directory / "a.root", 1, 200, PRODAGENT_COUNTS=str(directory / "counts.json"))
    make("zmumu/generate.py", directory / "b.root", 201, 200, seed=6)
    return directory


@pytest.mark.skipif(not all(map(find_spec, PHYSICS)), reason="needs the physics extra")
class TestZmumu:
    def content(self, path: Path) -> dict[str, list[Any]]:
        import uproot

        with uproot.open(path) as file:
            return {name: array.tolist() for name, array in file["events"].arrays(library="np").items()}

    def test_the_same_job_gives_the_same_content(self, files: Path, tmp_path: Path) -> None:
        make("zmumu/generate.py", tmp_path / "again.root", 1, 200)
        assert self.content(tmp_path / "again.root") == self.content(files / "a.root")

    def test_what_a_file_holds(self, files: Path) -> None:
        content = self.content(files / "a.root")
        assert content["event"] == list(range(1, 201))
        assert json.loads((files / "counts.json").read_text()) == {"events": 200}
        near = sum(86 < mass < 96 for mass in content["mass"])
        assert 100 < near < 180
        assert set(content["minus_charge"]) == {-1}
        assert set(content["plus_charge"]) == {1}
        assert max(content["plus_pt"]) > 45.6  # the Z has a transverse momentum

    def test_a_merge_has_all_events_in_order(self, files: Path, tmp_path: Path) -> None:
        inputs, counts = (files / "a.root", files / "b.root"), tmp_path / "counts.json"
        done = run("zmumu/merge.py", "--output", tmp_path / "m.root", *inputs, PRODAGENT_COUNTS=str(counts))
        assert (done.returncode, done.stderr) == (0, "")
        parts = [self.content(path) for path in inputs]
        assert self.content(tmp_path / "m.root") == {name: parts[0][name] + parts[1][name] for name in parts[0]}
        assert json.loads(counts.read_text()) == {"events": 400}

    @pytest.mark.parametrize("missing", [1, 100, 5000, 10**9])
    def test_a_truncated_input_ends_the_merge(self, files: Path, tmp_path: Path, missing: int) -> None:
        whole = (files / "a.root").read_bytes()
        bad = tmp_path / "cut.root"
        bad.write_bytes(whole[: max(0, len(whole) - missing)])
        done = run("zmumu/merge.py", "--output", tmp_path / "m.root", files / "b.root", bad)
        assert done.returncode == 66
        assert done.stderr.startswith(f"{bad} ({bad.stat().st_size} bytes) cannot be read as a whole: ")

    def test_a_missing_input_ends_the_merge(self, files: Path, tmp_path: Path) -> None:
        done = run("zmumu/merge.py", "--output", tmp_path / "m.root", tmp_path / "none.root", files / "b.root")
        assert done.returncode == 66
        assert "none.root (not there) cannot be read" in done.stderr

    def test_check_finds_what_is_missing_and_doubled(self, files: Path) -> None:
        whole = run("zmumu/check.py", "--events", 400, files)
        assert (whole.returncode, whole.stdout) == (0, "400 of 400 events are there exactly once; files: 2\n")
        missing = run("zmumu/check.py", "--events", 401, files)
        assert (missing.returncode, missing.stderr) == (1, "1 event numbers are missing\n")
        doubled = run("zmumu/check.py", "--events", 400, files, files / "a.root")
        assert (doubled.returncode, doubled.stderr) == (1, "200 event numbers are more than once\n")

    def test_the_picture_is_drawn(self, files: Path, tmp_path: Path) -> None:
        done = run("zmumu/plot.py", files, "--output", tmp_path / "p.png", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        found = json.loads(done.stdout)
        assert (found["events"], found["distinct"], found["files"]) == (400, 400, 2)
        assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"

"""A job directory, and the runtime that works in it, as one zipapp under each Python that is here."""

import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from domain.report import JobReport, decode_report
from runtime.build import build
from tests.unit.runtime.pythons import interpreters


class Bench:
    """One job to be: change `spec`, then `run` it."""

    def __init__(self, directory: Path, python: str) -> None:
        self.directory = directory / "job"
        self.directory.mkdir()
        self.outside = directory
        self.element = directory / "se"
        self.python = python
        self.runtime = build(directory / "runtime")
        self.lfn = "/store/w/events.txt"
        self.spec: dict[str, Any] = {
            "schema": 1,
            "token": "t1",
            "job": 17,
            "type": "processing",
            "workflow": "w",
            "sandbox": None,
            "environment": {},
            "inputs": [],
            "steps": [],
            "concatenate": False,
            "output": {"file": "events.txt", "lfn": self.lfn, "count": "lines"},
            "stage_out": [{"kind": "posix", "root": str(self.element)}],
            "stage_out_pauses_s": [0.01, 0.02],
            "limits": {"wall_s": 60, "memory_mb": 500},
        }
        self.shell("printf 'a\\nb\\nc\\n' > events.txt")

    @property
    def published(self) -> Path:
        return Path(str(self.element) + self.lfn)

    def shell(self, *scripts: str) -> None:
        """Let the steps be these scripts."""
        self.spec["steps"] = [
            {"name": f"step{place}", "command": ["sh", "-c", script], "environment": {}}
            for place, script in enumerate(scripts, 1)
        ]

    def start(self) -> subprocess.Popen[str]:
        (self.directory / "spec.json").write_text(json.dumps(self.spec))
        command = [self.python, str(self.runtime.relative_to(self.outside)), "run", self.directory.name]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=self.outside)

    def run(self) -> JobReport:
        """Run it and return the report, which agrees with the exit status."""
        with self.start() as process:
            process.communicate(timeout=30)
        report = self.report()
        assert process.returncode == (report.exit_code if report.exit_code < 256 else 1)
        assert bool(report.exit_code) == bool(report.errors)
        return report

    def report(self) -> JobReport:
        return decode_report((self.directory / "report.json").read_bytes())

    def sandbox(self, mode: int = 0o644, **files: str) -> dict[str, str]:
        """Return the sandbox entry of an archive that holds these files, `name_py` standing for name.py."""
        archive = self.outside / "sandbox.tar.gz"
        with tarfile.open(archive, "w:gz") as pack:
            for name, text in files.items():
                path = self.outside / name.replace("_", ".")
                path.write_text(text)
                path.chmod(mode)
                pack.add(path, path.name)
        return {"path": str(archive), "sha256": hashlib.sha256(archive.read_bytes()).hexdigest()}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path, sys.executable)


@pytest.fixture(params=interpreters())
def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    return Bench(tmp_path, request.param)

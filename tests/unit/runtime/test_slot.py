"""A slot of a batch system: what one attempt leaves there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domain import exit_codes
from domain.report import JobReport, decode_report
from runtime.scratch import VARIABLE
from runtime.site_spool import SiteSpool

ROOT = Path(__file__).parents[3]
FULL_WHILE = """
import errno, os, sys
from runtime import report, slot
root, taken = sys.argv[1:]
write = report.write
def full(path, raw):
    if os.path.exists(taken):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    write(path, raw)
report.write = full
sys.exit(slot.attend(root, "t1", "77"))
"""
"""A file system that takes no report as long as a file is there."""


class Slot:
    def __init__(self, root: Path) -> None:
        self.where = SiteSpool(str(root / "site"))
        self.where.create()
        self.where.begin("t1")
        self.directory = Path(self.where.job("t1"))

    def run(self, script: str, taken: str = "-", scratch: str = "", **more: Any) -> int:
        spec = {"schema": 1, "token": "t1", "job": 17, "steps": [{"command": ["sh", "-c", script]}], **more}
        (self.directory / "spec.json").write_text(json.dumps(spec))
        command = [sys.executable, "-c", FULL_WHILE, self.where.root, str(self.directory / taken)]
        environment = {**os.environ, VARIABLE: scratch}
        ended = subprocess.run(command, check=False, capture_output=True, cwd=ROOT, env=environment)
        return ended.returncode

    def report(self) -> JobReport:
        return decode_report((self.directory / "report.json").read_bytes())


@pytest.fixture
def slot(tmp_path: Path) -> Slot:
    return Slot(tmp_path)


@pytest.mark.feature("PA-318")
@pytest.mark.parametrize("taken", ["work/big", "payload.log", "no such file"])
def test_a_full_quota_keeps_no_report_back(slot: Slot, taken: str) -> None:
    """What the attempt itself has taken goes first: its working directory, then its log."""
    assert slot.run("echo x > big; echo why; exit 3", taken) == 3
    assert (slot.report().exit_code, slot.report().errors[0].log) == (3, "why\n")
    end = slot.where.ended("t1")
    assert end is not None
    assert end["code"] == 3
    assert not (slot.directory / "work").exists()


@pytest.mark.feature("PA-320")
def test_a_log_beside_the_working_directory_counts_as_disk(slot: Slot) -> None:
    limits = {"disk_mb": 5, "sample_s": 0.2, "grace_s": 30}
    slot.run("head -c 20000000 /dev/zero; sleep 30", limits=limits)
    assert slot.report().exit_code == exit_codes.DISK
    assert "disk limit: 20 MB used, 5 allowed" in slot.report().errors[0].text


@pytest.mark.feature("PA-323")
def test_a_job_works_on_the_disk_of_its_node_if_the_site_names_one(slot: Slot, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    assert slot.run("pwd; echo x > big", scratch=str(disk)) == 0
    assert (slot.directory / "payload.log").read_text() == f"{disk}/prodagent-t1\n"
    assert list(disk.iterdir()) == []
    assert not (slot.directory / "work").exists()


@pytest.mark.feature("PA-318", "PA-323")
def test_a_disk_that_is_not_there_is_named(slot: Slot, tmp_path: Path) -> None:
    slot.run("true", scratch=str(tmp_path / "nowhere"))
    assert slot.report().exit_code == exit_codes.RUNTIME_FAILED
    assert slot.report().errors[0].text.startswith("no working directory can be made: ")
    assert "nowhere/prodagent-t1" in slot.report().errors[0].text

"""An output is published whole and verified, or nothing is left of it."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from domain import exit_codes
from runtime import mover_posix, stage_out
from runtime.checksum import Digest, digest_of
from runtime.mover_posix import Posix
from runtime.problem import Problem
from runtime.stage_out import StageOut

pytestmark = pytest.mark.feature("PA-322", "TX-07")


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "output"
    path.write_bytes(b"x\n" * 1000)
    return str(path)


def rule(place: Path) -> dict[str, Any]:
    return {"kind": "posix", "root": str(place)}


def take(_: Digest) -> None:
    pass


def test_a_file_with_the_same_bytes_is_adopted(source: str, tmp_path: Path) -> None:
    StageOut("t1", [], take).run(source, "/a/b", [rule(tmp_path / "se")])
    second = StageOut("t2", [], take)
    assert second.run(source, "/a/b", [rule(tmp_path / "se")]).digest.size == 2000
    second.withdraw()
    assert (tmp_path / "se/a/b").exists()


def test_a_file_with_other_bytes_is_named_and_left_alone(source: str, tmp_path: Path) -> None:
    (tmp_path / "se/a").mkdir(parents=True)
    (tmp_path / "se/a/b").write_text("another")
    with pytest.raises(Problem, match="/se/a/b exists with another content") as caught:
        StageOut("t1", [], take).run(source, "/a/b", [rule(tmp_path / "se")])
    assert caught.value.code == exit_codes.STAGE_OUT
    assert (tmp_path / "se/a/b").read_text() == "another"
    assert os.listdir(tmp_path / "se/a") == ["b"]


def test_the_next_rule_is_tried_after_three_times(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(stage_out.time, "sleep", pauses.append)
    (tmp_path / "blocked").write_text("a file in place of a directory")
    placed = StageOut("t1", [60, 600], take).run(source, "/a/b", [rule(tmp_path / "blocked"), rule(tmp_path / "spare")])
    assert placed.pfn == str(tmp_path / "spare/a/b")
    assert pauses == [60, 600]


def test_when_no_rule_works_all_reasons_are_said(source: str, tmp_path: Path) -> None:
    (tmp_path / "blocked").write_text("a file in place of a directory")
    with pytest.raises(Problem) as caught:
        StageOut("t1", [], take).run(source, "/a/b", [rule(tmp_path / "blocked")])
    assert caught.value.code == exit_codes.STAGE_OUT
    assert caught.value.text.count("Not a directory") == 3


@pytest.mark.parametrize(
    "fault",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        OSError("PUT https://se/a/b: status 507"),
        OSError("Run: [ERROR] Server responded with an error: [3021] quota"),
    ],
    ids=["no space", "quota", "http", "xrootd"],
)
def test_a_storage_without_room_is_told_from_a_broken_one(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: OSError
) -> None:
    def full(_: Posix, source: str, target: str) -> Digest:
        raise fault

    monkeypatch.setattr(Posix, "put", full)
    with pytest.raises(Problem) as caught:
        StageOut("t1", [], take).run(source, "/a/b", [rule(tmp_path / "se")])
    assert caught.value.code == exit_codes.STORAGE_FULL


def test_a_copy_that_reads_back_differently_is_refused(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def truncated(path: str, uncached: bool = False) -> Digest:
        os.truncate(path, 10)
        return digest_of(path, uncached)

    monkeypatch.setattr(mover_posix, "digest_of", truncated)
    with pytest.raises(Problem, match="reads back as 10 bytes") as caught:
        StageOut("t1", [], take).run(source, "/a/b", [rule(tmp_path / "se")])
    assert caught.value.code == exit_codes.CHECKSUM_FAILED
    assert os.listdir(tmp_path / "se/a") == []


def test_what_was_published_can_be_withdrawn(source: str, tmp_path: Path) -> None:
    out = StageOut("t1", [], take)
    out.run(source, "/a/b", [rule(tmp_path / "se")])
    out.withdraw()
    out.withdraw()
    assert os.listdir(tmp_path / "se/a") == []


def test_a_file_that_somebody_else_put_there_is_not_withdrawn(source: str, tmp_path: Path) -> None:
    out = StageOut("t1", [], take)
    out.run(source, "/a/b", [rule(tmp_path / "se")])
    os.rename(source, tmp_path / "se/a/b")
    out.withdraw()
    assert (tmp_path / "se/a/b").exists()


def test_nothing_is_published_that_is_not_accepted(source: str, tmp_path: Path) -> None:
    def refuse(digest: Digest) -> None:
        raise Problem(1, f"{digest.lines} lines")

    with pytest.raises(Problem, match="1000 lines"):
        StageOut("t1", [], refuse).run(source, "/a/b", [rule(tmp_path / "se")])
    assert os.listdir(tmp_path / "se/a") == []


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK), reason="no /dev/full")
def test_a_full_disk_is_a_reason(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def full(path: str, flags: int, mode: int = 0o777) -> int:
        return real("/dev/full", os.O_WRONLY) if path.endswith(".part") else real(path, flags, mode)

    (tmp_path / "se/a").mkdir(parents=True)
    monkeypatch.setattr(mover_posix.os, "open", full)
    with pytest.raises(Problem, match="No space left"):
        StageOut("t1", [], take).run(source, "/a/b", [rule(tmp_path / "se")])

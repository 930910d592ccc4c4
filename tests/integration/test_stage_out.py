"""The worker runtime brings files to and from real storage elements: whole, verified, never over another file."""

import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from domain import exit_codes
from runtime.checksum import Digest
from runtime.mover import open_mover
from runtime.problem import Problem
from runtime.stage_out import StageOut
from tests.real.sshd import USER, Sshd
from tests.real.webdav import Webdav
from tests.real.xrootd import Xrootd

pytestmark = pytest.mark.feature("PA-322", "TX-07", "TX-09")

KINDS = ["posix", "sftp", "xrootd", "http", "command"]
LFN = "/store/unmerged/a b/c%d.root"


class Endpoint:
    """A storage element: the rule that reaches it, and the directory in which its files really lie."""

    def __init__(self, kind: str, directory: Path, servers: ExitStack) -> None:
        self.files = directory / "se"
        if kind == "sftp":
            server = servers.enter_context(Sshd(directory / "sshd"))
            options = ["-F", "/dev/null", "-i", str(server.identity), "-o", f"UserKnownHostsFile={server.known_hosts}"]
            self.rule = {"kind": kind, "host": "127.0.0.1", "port": server.port, "user": USER, "root": str(self.files)}
            self.rule["options"] = options
        elif kind == "xrootd":
            xrootd = servers.enter_context(Xrootd())
            self.rule, self.files = {"kind": kind, "url": xrootd.url}, xrootd.data / "store/area"
        elif kind == "http":
            webdav = servers.enter_context(Webdav())
            self.rule, self.files = {"kind": kind, "url": webdav.url}, webdav.data / "area"
        elif kind == "command":
            put = ["sh", "-c", 'mkdir -p "$(dirname "$2")" && cp "$1" "$2"', "-", "{source}", "{target}"]
            verbs = {"put": put, "get": ["cp", "{source}", "{target}"], "rename": ["mv", "-n", "{source}", "{target}"]}
            verbs |= {"exists": ["test", "-e", "{target}"], "remove": ["rm", "-f", "{target}"]}
            self.rule = {"kind": kind, "root": str(self.files), **verbs}
        else:
            self.rule = {"kind": kind, "root": str(self.files)}

    def file(self, lfn: str = LFN) -> Path:
        return Path(str(self.files) + lfn)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.files.rglob("*") if path.is_file())


@pytest.fixture(params=KINDS)
def endpoint(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    with ExitStack() as servers:
        yield Endpoint(request.param, tmp_path, servers)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "output"
    path.write_bytes(os.urandom(3_000_000) + b"\n" * 7)
    return str(path)


def take(_: Digest) -> None:
    pass


def rule(endpoint: Endpoint) -> list[dict[str, Any]]:
    return [{**endpoint.rule, "deadline_s": 60}]


def test_a_file_arrives_whole_and_nothing_else_stays(endpoint: Endpoint, source: str) -> None:
    placed = StageOut("t1", [], take).run(source, LFN, rule(endpoint))
    content = Path(source).read_bytes()
    assert endpoint.file().read_bytes() == content
    assert placed.digest.size == len(content)
    assert placed.digest.adler32 == f"{zlib.adler32(content):08x}"
    assert endpoint.names() == [endpoint.file().name]
    assert os.listdir(".") == []


def test_a_file_of_the_same_bytes_is_adopted_and_not_withdrawn(endpoint: Endpoint, source: str) -> None:
    StageOut("t1", [], take).run(source, LFN, rule(endpoint))
    second = StageOut("t2", [], take)
    second.run(source, LFN, rule(endpoint))
    second.withdraw()
    assert endpoint.names() == [endpoint.file().name]


def test_a_file_of_other_bytes_is_left_alone(endpoint: Endpoint, source: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("another")
    StageOut("t1", [], take).run(str(other), LFN, rule(endpoint))
    with pytest.raises(Problem, match="exists with another content") as caught:
        StageOut("t2", [], take).run(source, LFN, rule(endpoint))
    assert caught.value.code == exit_codes.STAGE_OUT
    assert endpoint.file().read_text() == "another"
    assert endpoint.names() == [endpoint.file().name]


def test_what_was_published_can_be_withdrawn(endpoint: Endpoint, source: str) -> None:
    out = StageOut("t1", [], take)
    out.run(source, LFN, rule(endpoint))
    out.withdraw()
    out.withdraw()
    assert endpoint.names() == []


def test_what_is_not_accepted_leaves_nothing(endpoint: Endpoint, source: str) -> None:
    def refuse(_: Digest) -> None:
        raise Problem(exit_codes.EVENTS_DIFFER, "no")

    with pytest.raises(Problem):
        StageOut("t1", [], refuse).run(source, LFN, rule(endpoint))
    assert endpoint.names() == []


def test_a_damaged_copy_is_never_published(endpoint: Endpoint, source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(open_mover(endpoint.rule))
    put = kind.put

    def truncated(self: Any, path: str, target: str) -> Digest:
        digest: Digest = put(self, path, target)
        (part,) = [path for path in endpoint.files.rglob("*") if path.is_file()]
        os.truncate(part, 1000)
        return digest

    monkeypatch.setattr(kind, "put", truncated)
    with pytest.raises(Problem, match="reads back as 1000 bytes") as caught:
        StageOut("t1", [], take).run(source, LFN, rule(endpoint))
    assert caught.value.code == exit_codes.CHECKSUM_FAILED
    assert endpoint.names() == []


def test_an_endpoint_that_is_away_gives_way_to_the_next(endpoint: Endpoint, source: str, tmp_path: Path) -> None:
    away = {
        "posix": {"kind": "posix", "root": "/proc/nowhere"},
        "sftp": {**endpoint.rule, "port": 1},
        "xrootd": {"kind": "command", "put": ["false"]},  # xrdcp itself tries for minutes
        "http": {"kind": "http", "url": "http://127.0.0.1:1/area"},
        "command": {"kind": "command", "put": ["no-such-program"]},
    }[str(endpoint.rule["kind"])]
    pauses: list[float] = []
    placed = StageOut("t1", pauses, take).run(source, LFN, [away, *rule(endpoint)])
    assert endpoint.file().exists()
    assert placed.pfn == open_mover(endpoint.rule).pfn(LFN)


@pytest.mark.feature("PA-323")
def test_an_input_is_brought_from_there_when_the_nearer_copy_is_damaged(
    endpoint: Endpoint, source: str, tmp_path: Path
) -> None:
    from runtime import inputs

    StageOut("t1", [], take).run(source, LFN, rule(endpoint))
    content = Path(source).read_bytes()
    bad = tmp_path / "bad"
    bad.write_bytes(content[:-1] + b"x")
    pfn = open_mover(endpoint.rule).pfn(LFN)
    entry = {"lfn": LFN, "path": str(bad), "size": len(content), "adler32": f"{zlib.adler32(content):08x}", "events": 1}
    entry["sources"] = [{**endpoint.rule, "pfn": pfn}]
    (report,), (path,) = inputs.check([entry], str(tmp_path / "inputs"), prestage=True)
    assert report["ok"]
    assert "adler32 is" in report["problem"]
    assert Path(path).read_bytes() == content
    shutil.rmtree(tmp_path / "inputs")
    entry["adler32"] = "00000001"
    (report,), (path,) = inputs.check([entry], str(tmp_path / "inputs"), prestage=True)
    assert (report["ok"], path) == (False, "")
    assert report["problem"].count("adler32 is") == 2
    assert os.listdir(tmp_path / "inputs") == []

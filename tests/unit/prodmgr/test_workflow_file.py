"""Reading workflow files and packing what they name."""

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from config import workflow_file
from config.faults import Faults
from config.workflow_file import load_workflow

pytestmark = pytest.mark.feature("PM-01")

TEXT = """
name = "plain"
events = 100
files = [{files}]
[[steps]]
command = ["sh", "-c", "echo ${{HOME}} {{first_event}}"]
"""


def write(folder: Path, *files: str) -> Path:
    path = folder / "workflow.toml"
    path.write_text(TEXT.format(files=", ".join(json.dumps(name) for name in files)))
    return path


def test_toml_and_json_are_the_same(tmp_path: Path) -> None:
    loaded = load_workflow(write(tmp_path))
    other = tmp_path / "workflow.json"
    step = {"command": ["sh", "-c", "echo ${HOME} {first_event}"]}
    other.write_text(json.dumps({"name": "plain", "events": 100, "steps": [step]}))
    assert load_workflow(other).spec == loaded.spec
    assert loaded.spec.steps[0].command[2] == "echo ${HOME} {first_event}"
    assert (loaded.sandbox, loaded.sandbox_sha256) == (b"", "")


def test_the_archive_depends_on_names_contents_and_modes_only(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "b.py").write_text("print(1)\n")
    (tmp_path / "a.sh").write_text("echo\n")
    (tmp_path / "a.sh").chmod(0o755)
    path = write(tmp_path, "code", "a.sh")
    first = load_workflow(path)
    os.utime(tmp_path / "a.sh", (1, 1))
    assert load_workflow(path).sandbox == first.sandbox
    assert first.sandbox_sha256 == hashlib.sha256(first.sandbox).hexdigest()
    with tarfile.open(fileobj=io.BytesIO(first.sandbox)) as archive:
        entries = archive.getmembers()
    assert [(entry.name, entry.mode & 0o100, entry.mtime) for entry in entries] == [
        ("a.sh", 0o100, 0),
        ("code/b.py", 0, 0),
    ]
    (tmp_path / "a.sh").chmod(0o644)
    assert load_workflow(path).sandbox_sha256 != first.sandbox_sha256


def test_all_faults_are_told_with_their_places(tmp_path: Path) -> None:
    path = tmp_path / "workflow.toml"
    path.write_text('name = "plain"\nevents = -5\npriorty = 3\n[[steps]]\ncommand = []\n')
    with pytest.raises(Faults) as caught:
        load_workflow(path)
    lines = [str(fault).removeprefix(f"{path}: ") for fault in caught.value.faults]
    assert any(line.startswith("events: got -5, expected a whole number of at least 1") for line in lines)
    assert any(line.startswith("priorty: got an unknown key") and "'priority'" in line for line in lines)
    assert any(line.startswith("steps[0].command") for line in lines)


def test_files_that_will_not_do(tmp_path: Path) -> None:
    folder = tmp_path / "inside"
    folder.mkdir()
    (tmp_path / "secret").write_text("x")
    (folder / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Faults) as caught:
        load_workflow(write(folder, "../secret", "/etc/passwd", "link", "absent"))
    assert [(fault.key, fault.got) for fault in caught.value.faults] == [
        ("files[0]", "'../secret'"),
        ("files[1]", "'/etc/passwd'"),
        ("files[2]", "'link'"),
        ("files[3]", "'absent'"),
    ]
    assert "there is none at" in str(caught.value)


def test_a_link_out_of_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inside" / "code").mkdir(parents=True)
    (tmp_path / "secret").write_text("x")
    (tmp_path / "inside" / "code" / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(Faults, match="the link"):
        load_workflow(write(tmp_path / "inside", "code"))


def test_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow_file, "MAX_SANDBOX", 10)
    (tmp_path / "big").write_bytes(bytes(11))
    with pytest.raises(Faults, match="files: got 11 bytes in 1 files, expected at most 10 bytes"):
        load_workflow(write(tmp_path, "big"))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("w.yaml", b"a: 1", "got the suffix '.yaml', expected .toml or .json"),
        ("w.toml", b"name = ", "expected a TOML text"),
        ("w.json", b"[", "expected a JSON text"),
        ("w.json", b"[" * 100_000, "expected a JSON text"),
        ("w.toml", b"\xff\xfe", "expected a TOML text in UTF-8"),
        ("w.json", b"[1]", "a table with name, events, steps"),
    ],
)
def test_malformed_files(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Faults) as caught:
        load_workflow(tmp_path / name)
    assert message in str(caught.value)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Faults, match="got No such file or directory, expected a readable file"):
        load_workflow(tmp_path / "absent.toml")

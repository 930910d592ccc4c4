"""Read a workflow as people write it: a TOML or JSON file with the files it names beside it."""

import gzip
import hashlib
import io
import json
import os
import tarfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from config.faults import Fault, Faults, convert_collecting, shown
from domain.spec import WorkflowSpec

MAX_SANDBOX = 50_000_000
"""Most bytes of all files of a workflow together, and of their archive."""


class LoadedWorkflow(msgspec.Struct, frozen=True, kw_only=True):
    """A workflow with the archive (tar.gz) of its files; without files both archive and checksum are empty."""

    spec: WorkflowSpec
    sandbox: bytes
    sandbox_sha256: str


def load_workflow(path: Path) -> LoadedWorkflow:
    """Read a workflow file and pack its files; raise Faults with everything that is wrong."""
    where = str(path)
    spec = read_spec(_parse(path, where), where)
    members, faults = _members(path.resolve().parent, spec.files, where)
    size = sum(member.stat().st_size for member in members.values())
    if size > MAX_SANDBOX:
        faults.append(_fault(where, "files", f"{size} bytes in {len(members)} files", f"at most {MAX_SANDBOX} bytes"))
    if faults:
        raise Faults(faults)
    sandbox = pack(members) if members else b""
    if len(sandbox) > MAX_SANDBOX:
        raise Faults([_fault(where, "files", f"an archive of {len(sandbox)} bytes", f"at most {MAX_SANDBOX} bytes")])
    return LoadedWorkflow(
        spec=spec, sandbox=sandbox, sandbox_sha256=hashlib.sha256(sandbox).hexdigest() if sandbox else ""
    )


def read_spec(data: object, where: str) -> WorkflowSpec:
    """Turn plain data into a workflow; raise Faults with everything that is wrong."""
    # commands may hold ${NAME} for their shell, which convert_collecting keeps for secrets of configurations
    _, faults = convert_collecting(_without_references(data), WorkflowSpec, where)
    if faults:
        raise Faults(faults)
    return msgspec.convert(data, WorkflowSpec)


def pack(members: dict[str, Path]) -> bytes:
    """Return a tar.gz that depends on names, contents and modes only: sorted, without times and owners."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, path in sorted(members.items()):
            content = path.read_bytes()
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = path.stat().st_mode & 0o777
            archive.addfile(entry, io.BytesIO(content))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=6) as stream:
        stream.write(plain.getvalue())
    return packed.getvalue()


def _parse(path: Path, where: str) -> object:
    readers: dict[str, Callable[[str], Any]] = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise Faults([_fault(where, "", f"the suffix {path.suffix!r}", ".toml or .json")])
    try:
        return readers[path.suffix](path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Faults([_fault(where, "", error.strerror or str(error), "a readable file")]) from None
    except (ValueError, RecursionError) as error:
        raise Faults([_fault(where, "", str(error), f"a {path.suffix[1:].upper()} text in UTF-8")]) from None


def _without_references(data: object) -> object:
    if isinstance(data, str):
        return data.replace("${", "$(")
    if isinstance(data, list):
        return [_without_references(item) for item in data]
    if isinstance(data, dict):
        return {key: _without_references(value) for key, value in data.items()}
    return data


def _members(root: Path, names: list[str], where: str) -> tuple[dict[str, Path], list[Fault]]:
    """Find the files by their names in the archive; a directory stands for all files below it."""
    members: dict[str, Path] = {}
    faults: list[Fault] = []
    for index, name in enumerate(names):
        path = root / name
        key = f"files[{index}]"
        if not path.resolve().is_relative_to(root):
            faults.append(_fault(where, key, shown(name), f"a path inside {root}"))
        elif not path.exists():
            faults.append(_fault(where, key, shown(name), f"a file or directory; there is none at {path}"))
        else:
            for found in _files(path):
                faults.extend(_unfit(root, found, where, key))
                members[Path(os.path.normpath(found)).relative_to(root).as_posix()] = found
    return members, faults


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for folder, _, files in os.walk(path):
        yield from (Path(folder) / name for name in files)


def _unfit(root: Path, path: Path, where: str, key: str) -> list[Fault]:
    if not path.resolve().is_relative_to(root):
        return [_fault(where, key, f"the link {path}", f"a file inside {root}")]
    if not path.is_file() or not os.access(path, os.R_OK):
        return [_fault(where, key, str(path), "a plain, readable file")]
    return []


def _fault(where: str, key: str, got: str, expected: str) -> Fault:
    return Fault(where=where, key=key, got=got, expected=expected)

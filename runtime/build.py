"""Builds the runtime into one file that any Python from 3.6 on can execute."""

import hashlib
import io
import os
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
MAIN = b"""\
import os
import sys

sys.path[0] = os.path.abspath(sys.path[0])  # a job changes the directory before everything is imported

from runtime.__main__ import main

sys.exit(main(sys.argv[1:]))
"""
EPOCH = (1980, 1, 1, 0, 0, 0)


def build(target: Path) -> Path:
    """Write the zipapp into the directory `target` unless it is there, and return its path.

    Its name carries the digest of its bytes, and the same sources always give the same bytes.
    """
    raw = archive()
    path = Path(target) / "runtime-{}.pyz".format(hashlib.sha256(raw).hexdigest()[:16])
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name("{}.{}.part".format(path.name, os.getpid()))
        partial.write_bytes(raw)
        partial.chmod(0o755)
        os.replace(str(partial), str(path))
    return path


def archive() -> bytes:
    """Return the bytes of the zipapp."""
    sink = io.BytesIO()
    sink.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as pack:
        _add(pack, "__main__.py", MAIN)
        for source in sorted(HERE.glob("*.py")):
            if source.name != "build.py":
                _add(pack, "runtime/" + source.name, source.read_bytes())
    return sink.getvalue()


def _add(pack: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, EPOCH)
    entry.external_attr = 0o644 << 16
    pack.writestr(entry, content)

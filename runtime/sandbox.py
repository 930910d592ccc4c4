"""Unpacks a workflow's files once per node and shows them to each job."""

import errno
import fcntl
import os
from typing import Any, Dict, Optional

from runtime import codes
from runtime.checksum import digest_of
from runtime.problem import Problem


def unpack(sandbox: Optional[Dict[str, Any]], store: str) -> Optional[str]:
    """Return the directory of the unpacked archive below `store`, which every job of the node shares."""
    if not sandbox:
        return None
    target = os.path.join(store, str(sandbox.get("sha256")))
    if not os.path.isdir(target):
        os.makedirs(store, exist_ok=True)
        with open(target + ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not os.path.isdir(target):
                _extract(str(sandbox.get("path")), str(sandbox.get("sha256")), target)
    return target


def show(directory: str, scratch: str) -> None:
    """Link the top entries of the unpacked sandbox into a job's working directory."""
    for name in os.listdir(directory):
        os.symlink(os.path.join(directory, name), os.path.join(scratch, name))


def _extract(archive: str, sha256: str, target: str) -> None:
    import shutil  # noqa: PLC0415 -- both are slow to load and needed once per node
    import tarfile  # noqa: PLC0415

    partial = "{}.{}.part".format(target, os.getpid())
    try:
        found = digest_of(archive).sha256
        if found != sha256:
            raise Problem(codes.SANDBOX_MISSING, "sandbox {} has sha256 {}, expected {}".format(archive, found, sha256))
        os.mkdir(partial)
        with tarfile.open(archive) as source:
            _refuse_escapes(source, archive)
            source.extractall(partial, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))  # type: ignore[arg-type]  # noqa: S202
        _write_protect(partial)
        os.rename(partial, target)
    except (OSError, tarfile.TarError, EOFError) as fault:
        if getattr(fault, "errno", None) == errno.ENOSPC:
            raise
        raise Problem(codes.SANDBOX_MISSING, "sandbox {} cannot be unpacked: {}".format(archive, fault)) from fault
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _refuse_escapes(source: Any, archive: str) -> None:
    for member in source.getmembers():
        plain = member.isfile() or member.isdir() or member.issym()
        if not plain or member.name.startswith("/") or ".." in member.name.split("/"):
            text = "sandbox {} holds {!r}, expected files below it only".format(archive, member.name)
            raise Problem(codes.SANDBOX_MISSING, text)


def _write_protect(directory: str) -> None:
    for root, _, files in os.walk(directory):
        for name in files:
            path = os.path.join(root, name)
            if not os.path.islink(path):
                os.chmod(path, os.stat(path).st_mode & ~0o222)

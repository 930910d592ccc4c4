"""The interpreters that the worker runtime is tried with."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def interpreters() -> list[str]:
    """Return this Python, the oldest and the newest other one that is installed and supported, and PyPy (3.9 on Debian 12)."""
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = {}
    for minor in range(6, 16):
        places = [shutil.which(f"python3.{minor}"), *sorted(root.glob(f"versions/3.{minor}.*/bin/python3"))]
        for path in filter(None, map(str, filter(None, places))):
            if subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
                found.setdefault(minor, path)
    found.pop(sys.version_info.minor, None)
    others = [found[minor] for minor in sorted(found)[:1] + sorted(found)[-1:]]
    return list(dict.fromkeys(filter(None, [sys.executable, *others, shutil.which("pypy3")])))

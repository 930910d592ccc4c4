"""Counts what the kernel has killed for want of memory in the control group of this process."""

from contextlib import suppress
from functools import lru_cache
from typing import List

KILLED = 137
"""Exit code of a payload, or of a shell that waited for it, that was ended by SIGKILL."""


def kills(proc: str = "/proc/self/cgroup", root: str = "/sys/fs/cgroup") -> int:
    """Return how many processes so far, with those of the groups below it; 0 where nobody knows.

    https://docs.kernel.org/admin-guide/cgroup-v2.html (memory.events),
    https://docs.kernel.org/admin-guide/cgroup-v1/memory.html (memory.oom_control).
    """
    for file in _files(proc, root):
        try:
            with open(file) as source:
                counts = dict(line.split() for line in source)
            return int(counts["oom_kill"])
        except (OSError, ValueError, KeyError):
            continue
    return 0


@lru_cache(maxsize=1)
def _files(proc: str, root: str) -> List[str]:
    """Return where the count may stand. Inside a container the path may be that of the host: its own group is the root then."""
    found: List[str] = []
    with suppress(OSError), open(proc) as source:
        for _, controllers, path in (line.rstrip("\n").split(":", 2) for line in source):
            for place in (path.rstrip("/"), ""):
                if "memory" in controllers.split(","):
                    found.append("{}/memory{}/memory.oom_control".format(root, place))
                elif not controllers:
                    found.append("{}{}/memory.events".format(root, place))
    return found

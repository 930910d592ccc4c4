"""Knows processes by more than their number: boot, start time, group, session, memory."""

import os
import signal
from contextlib import suppress
from typing import Iterator, NamedTuple, Optional

PAGE = os.sysconf("SC_PAGE_SIZE")

Stat = NamedTuple(
    "Stat", [("pid", int), ("state", str), ("group", int), ("session", int), ("start", int), ("rss", int)]
)
"""Of one process: `start` in clock ticks since boot, `rss` in bytes."""


def stat(pid: int) -> Optional[Stat]:
    """Return what /proc says of a process, or None if it is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb", buffering=0) as source:
            fields = source.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 22:
        return None
    return Stat(pid, fields[0].decode(), int(fields[2]), int(fields[3]), int(fields[19]), int(fields[21]) * PAGE)


def everyone() -> Iterator[Stat]:
    """Yield every process of the machine."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            found = stat(int(name))
            if found is not None:
                yield found


def boot_id() -> str:
    """Return the name of this boot of the machine."""
    with open("/proc/sys/kernel/random/boot_id") as source:
        return source.read().strip()


def identity(pid: int, boot: str) -> str:
    """Return the text that names one process for good: "boot:pid:start"."""
    found = stat(pid)
    return "{}:{}:{}".format(boot, pid, found.start if found else 0)


def alive(who: str, boot: str) -> Optional[int]:
    """Return the pid of the process with this identity if it still runs (a zombie does not), else None."""
    parts = who.split(":")
    if len(parts) != 3 or parts[0] != boot:
        return None
    found = stat(int(parts[1]))
    if found is None or found.state in "ZX" or found.start != int(parts[2]):
        return None
    return found.pid


def group_memory(group: int) -> int:
    """Return the resident bytes of a process group."""
    return sum(found.rss for found in everyone() if found.group == group)


def kill(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(OSError):
        os.kill(pid, number)


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it has members."""
    with suppress(OSError):
        os.killpg(group, number)


def kill_session(session: int) -> None:
    """Kill every process of a session."""
    for found in everyone():
        if found.session == session and found.state not in "ZX":
            kill(found.pid, signal.SIGKILL)


def kill_orphans(who: str, boot: str) -> None:
    """Kill what is left of the session that a dead process led, unless its number belongs to another one by now."""
    parts = who.split(":")
    if len(parts) != 3 or parts[0] != boot:
        return
    leader = stat(int(parts[1]))
    if leader is None or leader.start == int(parts[2]):
        kill_session(int(parts[1]))

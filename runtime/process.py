"""Knows processes by more than their number: boot, start time, group, session, memory."""

import os
import signal
import time
from contextlib import suppress
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
LOOK_S = 0.02
"""Seconds between two looks at a child where the kernel cannot be asked to tell of its end."""
_adopting: List[bool] = []

Stat = NamedTuple(
    "Stat",
    [
        ("pid", int),
        ("state", str),
        ("parent", int),
        ("group", int),
        ("session", int),
        ("cpu", float),
        ("start", int),
        ("rss", int),
    ],
)
"""Of one process: `cpu` in seconds, also of its ended children; `start` in clock ticks since boot; `rss` in bytes."""


def stat(pid: int) -> Optional[Stat]:
    """Return what /proc says of a process, or None if it is gone."""
    try:
        with open("/proc/%d/stat" % pid, "rb", buffering=0) as source:
            fields = source.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if len(fields) < 22:
        return None
    cpu = sum(int(ticks) for ticks in fields[11:15]) / TICKS
    parent, group, session = (int(field) for field in fields[1:4])
    return Stat(pid, fields[0].decode(), parent, group, session, cpu, int(fields[19]), int(fields[21]) * PAGE)


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


def ended(child: int) -> bool:
    """Return whether a child that nobody has waited for has ended."""
    if hasattr(os, "waitid"):
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    found = stat(child)  # PyPy
    return found is None or found.state in "ZX"


def end_with_parent(parent: int) -> None:
    """Let the kernel send SIGTERM to this process when its parent dies, or now if it has died already.

    Linux only: https://man7.org/linux/man-pages/man2/pr_set_pdeathsig.2const.html.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def adopt_strays() -> None:
    """From now on every descendant of this process whose parent dies becomes its child, so that `end_strays` finds it.

    Linux only: https://man7.org/linux/man-pages/man2/pr_set_child_subreaper.2const.html.
    """
    if _prctl(_PR_SET_CHILD_SUBREAPER, 1):
        _adopting.append(True)


def end_strays(patience: float = 5.0) -> None:
    """End all children that are left, of whatever group and session: by SIGTERM, after `patience` seconds by SIGKILL.

    Does nothing in a process that does not adopt strays: its other children are none of ours.
    """
    deadline = time.monotonic() + patience
    told: Set[int] = set()
    while _adopting:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        late = time.monotonic() > deadline
        for found in everyone():
            if found.parent == os.getpid() and (late or found.pid not in told):
                told.add(found.pid)
                kill(found.pid, signal.SIGKILL if late else signal.SIGTERM)
        wait_for_child(0.1)


def wait_for_child(seconds: float) -> None:
    """Wait until a child may have ended, `seconds` at most; SIGCHLD must be blocked."""
    if hasattr(signal, "sigtimedwait"):
        signal.sigtimedwait([signal.SIGCHLD], seconds)
    else:  # PyPy
        time.sleep(min(seconds, LOOK_S))


def _prctl(option: int, value: int) -> bool:
    """Return whether the kernel took an option; False also where Python cannot ask it."""
    try:
        import ctypes  # noqa: PLC0415 -- slow to load

        return int(ctypes.CDLL(None).prctl(option, value, 0, 0, 0)) == 0
    except (ImportError, OSError, AttributeError):
        return False


def family(group: int) -> List[Stat]:
    """Return the processes of a program: its group, and all other descendants of this process, as far as it adopts them.

    Shells with job control, timeout(1) and setsid(1) give their children groups of their own.
    """
    everybody = list(everyone())
    children: Dict[int, List[int]] = {}
    for one in everybody:
        children.setdefault(one.parent, []).append(one.pid)
    mine = [os.getpid()] if _adopting else []
    for pid in mine:
        mine += children.get(pid, [])
    below = set(mine[1:])
    return [one for one in everybody if one.group == group or one.pid in below]


def memory(processes: Iterable[Stat]) -> int:
    """Return the bytes that processes use: their proportional set size, where the kernel does not tell their RSS."""
    total = 0
    for one in processes:
        pss = _pss(one.pid)
        total += one.rss if pss is None else pss
    return total


def _pss(pid: int) -> Optional[int]:
    """Return the bytes of one process, each page it shares divided by its users; None if /proc has no smaps of it."""
    for name in ("smaps_rollup", "smaps"):  # the first is there since Linux 4.14, and the sum of the second
        try:
            with open("/proc/%d/%s" % (pid, name), "rb") as source:
                return sum(int(line.split()[1]) * 1024 for line in source if line.startswith(b"Pss:"))
        except OSError:
            continue
    return None


def kill(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with suppress(OSError):
        os.kill(pid, number)


def kill_group(group: int, number: int) -> None:
    """Send a signal to a process group, if it has members."""
    with suppress(OSError):
        os.killpg(group, number)


def tell(group: int, number: int) -> None:
    """Send a signal to a program: to its group and to what it began in other groups, but for sessions of their own, such as
    the jobs of a pilot."""
    kill_group(group, number)
    for one in family(group):
        if one.group != group and one.session == os.getsid(0):
            kill(one.pid, number)


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

"""Runs one program in its own process group, within the limits of its job."""

import os
import signal
import time
from typing import Any, Dict, List, Optional

from runtime import codes, process
from runtime.problem import Problem

MEGABYTE = 10**6
FIRST_LOOK = 0.5
"""Seconds until the memory is looked at for the first time; doubled each time up to `sample_s`."""


class Limits(object):
    """What a job may use, and what was done about it: `code` and `text` are set when a limit was passed."""

    def __init__(self, limits: Dict[str, Any], started: float) -> None:
        wall = limits.get("wall_s")
        self.deadline: Optional[float] = started + float(wall) if wall else None
        self.wall = wall
        self.memory = int(limits.get("memory_mb") or 0) * MEGABYTE
        self.grace = float(limits.get("grace_s", 300))
        self.longest = float(limits.get("sample_s", 10))
        self.kill_at: Optional[float] = None
        self.code = codes.OK
        self.text = ""

    def pause(self, now: float, look: float) -> float:
        """Return the seconds until the next look at a running program."""
        nearest = [moment for moment in (self.deadline if not self.code else None, self.kill_at) if moment is not None]
        return max(0.0, min([look] + [moment - now for moment in nearest]))

    def enforce(self, group: int, now: float) -> None:
        """Signal the group if it is beyond a limit: softly first, then for good."""
        used = process.group_memory(group) if self.memory else 0
        if self.memory and used > self.memory * 1.1:
            self._pass(codes.MEMORY, self._memory_text(used))
            process.kill_group(group, signal.SIGKILL)
        elif self.kill_at is not None and now >= self.kill_at:
            self.kill_at = now + 1  # once more, should it not be gone by then
            process.kill_group(group, signal.SIGKILL)
        elif not self.code and self.deadline is not None and now >= self.deadline:
            self._pass(codes.WALL_TIME, "wall time limit of {} s".format(self.wall))
            self.kill_at = now + self.grace
            process.kill_group(group, signal.SIGUSR2)
        elif not self.code and self.memory and used > self.memory:
            self._pass(codes.MEMORY, self._memory_text(used))
            self.kill_at = now + self.grace
            process.kill_group(group, signal.SIGUSR2)

    def _memory_text(self, used: int) -> str:
        return "memory limit: {} MB used, {} allowed".format(used // MEGABYTE, self.memory // MEGABYTE)

    def _pass(self, code: int, text: str) -> None:
        self.code = self.code or code
        self.text = self.text or text


def run(name: str, command: List[str], environment: Dict[str, str], log: str, limits: Limits) -> Dict[str, Any]:
    """Run a program in the current directory until it ends and return its step report; SIGCHLD must be blocked.

    Raise Problem if it cannot be started. Whatever it leaves behind in its process group is killed.
    """
    program = _find(command[0], environment.get("PATH", os.defpath), name)
    clock = time.monotonic()
    try:
        pid = _spawn(program, command, environment, log)
    except OSError as fault:
        raise Problem(codes.NOT_EXECUTABLE, "{} cannot be executed: {}".format(program, fault), name) from fault
    status, usage = _wait(pid, limits)
    report = {
        "name": name,
        "wall_s": round(time.monotonic() - clock, 6),
        "cpu_s": round(usage.ru_utime + usage.ru_stime, 6),
        "max_rss_mb": round(usage.ru_maxrss * 1024 / MEGABYTE, 3),
    }  # type: Dict[str, Any]
    if os.WIFSIGNALED(status):
        report["signal"] = os.WTERMSIG(status)
    else:
        report["exit_code"] = os.WEXITSTATUS(status)
    return report


def _wait(pid: int, limits: Limits) -> Any:
    look = FIRST_LOOK
    try:
        while True:
            signal.sigtimedwait([signal.SIGCHLD], limits.pause(time.monotonic(), look))
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                break
            limits.enforce(pid, time.monotonic())
            look = min(look * 2, limits.longest)
    finally:
        process.kill_group(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
    return status, usage


def _find(program: str, path: str, step: str) -> str:
    found = ""
    for folder in [""] if "/" in program else path.split(os.pathsep):
        candidate = os.path.join(folder, program)
        if os.path.isfile(candidate):
            if os.access(candidate, os.X_OK):
                return candidate
            found = found or candidate
    if found:
        raise Problem(codes.NOT_EXECUTABLE, "{} is not executable".format(found), step)
    raise Problem(codes.EXECUTABLE_NOT_FOUND, "{} was not found in {}".format(program, path), step)


def _spawn(program: str, command: List[str], environment: Dict[str, str], log: str) -> int:
    if not hasattr(os, "posix_spawn"):  # Python 3.7 and older
        return _fork(program, command, environment, log)
    return os.posix_spawn(
        program,
        command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setpgroup=0,
        setsigmask=[],
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


def _fork(program: str, command: List[str], environment: Dict[str, str], log: str) -> int:
    import subprocess  # noqa: PLC0415 -- slow to load, only for old Python

    def enter() -> None:
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    with open(log, "ab") as sink:
        child = subprocess.Popen(
            command,
            executable=program,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            preexec_fn=enter,  # noqa: PLW1509 -- there are no threads here
        )
    child.returncode = 0  # it is waited for by its pid
    return child.pid

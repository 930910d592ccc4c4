"""Runs one program in its own process group, watched over."""

import os
import signal
import time
from typing import Any, Dict, List

from runtime import codes, process
from runtime.problem import Problem
from runtime.watch import FIRST_LOOK, MEGABYTE, Watch


def run(name: str, command: List[str], environment: Dict[str, str], log: str, watch: Watch) -> Dict[str, Any]:
    """Run a program in the current directory until it ends and return its step report; SIGCHLD must be blocked.

    Raise Problem if it cannot be started. What it leaves behind is ended: its process group at once, others politely.
    """
    program = _find(command[0], environment.get("PATH", os.defpath), name)
    clock = time.monotonic()
    watch.step = name
    try:
        pid = _spawn(program, command, environment, log)
    except OSError as fault:
        raise Problem(codes.NOT_EXECUTABLE, "{} cannot be executed: {}".format(program, fault), name) from fault
    status, usage = _wait(pid, watch)
    watch.cpu += usage.ru_utime + usage.ru_stime
    watch.peak = max(watch.peak, usage.ru_maxrss * 1024)
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


def _wait(pid: int, watch: Watch) -> Any:
    look = FIRST_LOOK
    try:
        while True:
            process.wait_for_child(watch.pause(time.monotonic(), look))
            if process.ended(pid):
                break
            watch.look(pid, time.monotonic())
            look = min(look * 2, watch.longest)
    finally:
        process.kill_group(pid, signal.SIGKILL)
        _, status, usage = os.wait4(pid, 0)
        process.end_strays()
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

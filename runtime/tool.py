"""Runs a program of the node for the runtime itself, in its own process group and within a deadline."""

import os
import signal
import subprocess
from typing import List, NamedTuple, Optional

from runtime import process

SAID_BYTES = 2000

Said = NamedTuple("Said", [("code", int), ("out", bytes), ("err", str)])
"""How a tool ended: exit code, output, and the end of its complaints."""


class ToolError(OSError):
    """A tool is not there, did not end in time, or said that it failed."""


def call(command: List[str], deadline: float, stdin: bytes = b"") -> Said:
    """Run a program and return what it said, whatever its exit code.

    Raise ToolError if it cannot be started or has not ended after `deadline` seconds; nothing of its group stays behind.
    """
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            preexec_fn=_enter,  # noqa: PLW1509 -- there are no threads here
        )
    except OSError as fault:
        raise ToolError("{} cannot be run: {}".format(command[0], fault)) from fault
    try:
        out, err = child.communicate(stdin, timeout=deadline)
    except subprocess.TimeoutExpired:
        raise ToolError("{} has not ended after {:g} s".format(_shown(command), deadline)) from None
    finally:
        process.kill_group(child.pid, signal.SIGKILL)
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
    return Said(child.returncode, out, err.decode("utf-8", "replace").strip()[-SAID_BYTES:])


def expect(command: List[str], deadline: float, stdin: bytes = b"") -> Said:
    """Run a program that has to succeed; raise ToolError with its complaints otherwise."""
    said = call(command, deadline, stdin)
    if said.code:
        text = said.err or said.out.decode("utf-8", "replace").strip()[-SAID_BYTES:]
        raise ToolError("{} ended with {}: {}".format(_shown(command), said.code, text))
    return said


def which(program: str, path: Optional[str] = None) -> str:
    """Return where a program is; raise ToolError, so that the next rule has its turn, if there is none."""
    import shutil  # noqa: PLC0415 -- slow to load

    found = shutil.which(program, path=path)
    if found is None:
        raise ToolError("{} was not found in {}".format(program, path or os.environ.get("PATH", os.defpath)))
    return found


def _shown(command: List[str]) -> str:
    return " ".join(command)[:200]


def _enter() -> None:
    os.setpgid(0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])

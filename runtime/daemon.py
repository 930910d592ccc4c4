"""Starts the node daemon as nobody's child, one per directory."""

import fcntl
import os
import time
from typing import Optional

from runtime.node import Node
from runtime.spool import Spool

PATIENCE = 1.0
"""Seconds to wait for the lock: an agent that looks whether a daemon lives holds it for an instant."""


def launch(directory: str, slots: int, idle: float) -> int:
    """Return 0 as soon as a daemon serves `directory`, this one or one that did already."""
    where = Spool(os.path.abspath(directory))
    where.create()
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1
    os.close(reader)
    os.setsid()
    if os.fork():
        os._exit(0)
    _detach(where.log)
    _serve(where, slots, idle, writer)
    os._exit(0)


def serve(directory: str, slots: int, idle: float) -> int:
    """Be the daemon, in the foreground."""
    where = Spool(os.path.abspath(directory))
    where.create()
    _serve(where, slots, idle, None)
    return 0


def _serve(where: Spool, slots: int, idle: float, ready: Optional[int]) -> None:
    lock = _acquire(where)
    if ready is not None:
        os.write(ready, b"+")
        os.close(ready)
    while lock is not None:
        node = Node(where, slots, idle)
        node.run(lock)
        os.close(lock)  # from here on an agent starts another daemon; what came in just before is looked for once more
        waits = not node.stopping and any(name.endswith((".jobs", ".cancel")) for name in os.listdir(where.inbox))
        lock = _acquire(where) if waits else None


def _acquire(where: Spool) -> Optional[int]:
    lock = os.open(where.lock, os.O_RDWR | os.O_CREAT, 0o644)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline:
                os.close(lock)
                return None
            time.sleep(0.01)
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return lock


def _detach(log: str) -> None:
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDONLY)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    os.close(null)
    os.close(sink)

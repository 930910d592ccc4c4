"""A forked process that runs one job after another for the node daemon.

It is reused because a fresh fork pays for every page that it touches: measured, 3 ms a job. It ends when the daemon
closes the channel, or is gone.
"""

import gc
import json
import os
import signal
import socket
import sys
from contextlib import suppress
from typing import Callable, List, Optional, Tuple

from runtime import attempt, process
from runtime.attempt import Order
from runtime.journal import Journal
from runtime.spool import Spool


class Worker(object):
    """The daemon's end: `pid`, the `channel` to it, and how many jobs it `served`."""

    __slots__ = ("channel", "pid", "served")

    def __init__(self, where: Spool, inherited: List[int], boot: str, node: str, tied: str = "") -> None:
        """Fork the process; `inherited` are the daemon's descriptors that it must not keep.

        `tied`: the name of the pilot that it belongs to; its claims carry it, and when the pilot dies it is told to stop.
        """
        self.served = 0
        ours, theirs = socket.socketpair()
        employer = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _be(where, theirs.detach(), inherited + [ours.fileno()], boot, node, (tied, employer))
        theirs.close()
        self.channel = ours.detach()

    def give(self, order: Order) -> None:
        """Send a job; the answer is one byte when it is over."""
        self.served += 1
        with suppress(OSError):  # it may be dead, of which the channel tells
            os.write(self.channel, json.dumps(order).encode() + b"\n")

    def answer(self) -> Optional[int]:
        """Return how the job went, or None if the process is gone; to be called when the channel is readable."""
        try:
            said = os.read(self.channel, 1)
        except OSError:
            return None
        return said[0] if said else None

    def bury(self) -> int:
        """Close the channel, wait for the end of the process, which has no job any more, and return its status."""
        os.close(self.channel)
        return os.waitpid(self.pid, 0)[1]


def _be(where: Spool, channel: int, inherited: List[int], boot: str, node: str, tied: Tuple[str, int]) -> None:
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        who = process.identity(os.getpid(), boot)
        if tied[0]:
            who = "{}/{}".format(tied[0], who)
            process.end_with_parent(tied[1])
        process.adopt_strays()
        for descriptor in inherited:
            os.close(descriptor)
        gc.enable()
        _serve(where, channel, who, node, attempt.perform if tied[0] else attempt.attend)
    except BaseException:  # nothing may return into the daemon's loop
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def _serve(where: Spool, channel: int, who: str, node: str, run: Callable[[Spool, Order, int, str, str], int]) -> None:
    journal = Journal(where)
    current = 0
    while True:
        text = os.read(channel, 65536)
        if not text:
            os._exit(0)
        order = Order(*json.loads(text.decode()))
        if order.segment != current:
            journal.close()
            current = order.segment
        status = run(where, order, journal.descriptor(order.segment), who, node)
        try:
            os.write(channel, bytes([status]))
        except OSError:
            os._exit(0)  # the daemon is gone; another one reads the journal

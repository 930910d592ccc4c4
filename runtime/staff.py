"""The worker processes of a node or pilot: each runs one job after another."""

import os
import select
import signal
import time
from typing import Any, Dict, List, NamedTuple, Optional, Set

from runtime import process
from runtime.attempt import Order
from runtime.entry import Entry
from runtime.spool import Spool
from runtime.worker import Worker

KILL_AFTER = 10.0
"""Seconds that a cancelled job has to end by itself."""
JOBS_PER_WORKER = 1000
"""A worker process that has served so many is replaced by a fresh one."""

Over = NamedTuple("Over", [("entry", Entry), ("answer", Optional[int]), ("status", int)])
"""A job that is over: its worker's answer (see attempt.py), or None and the `status` with which the worker died."""


class Staff(object):
    """Workers are hired when needed; their channels are looked after by the `poller` of whoever employs them.

    `private` are the employer's descriptors that no worker may keep; `tied` workers are told to stop when it dies.
    """

    def __init__(self, where: Spool, poller: Any, private: List[int], boot: str, node: str, tied: str = "") -> None:
        self.running: Dict[int, Entry] = {}
        self._where = where
        self._poller = poller
        self._private = private
        self._boot = boot
        self._node = node
        self._tied = tied
        self._idle: List[Worker] = []
        self._workers: Dict[int, Worker] = {}
        self._dying: Set[Entry] = set()

    def give(self, entry: Entry) -> None:
        """Let a worker run a job. Raise OSError if there is no process or descriptor to be had."""
        if self._idle:
            worker = self._idle.pop()
        else:
            closed = self._private + list(self._workers)
            worker = Worker(self._where, closed, self._boot, self._node, self._tied)
            self._workers[worker.channel] = worker
            self._poller.register(worker.channel, select.POLLIN)
        batch = entry.batch
        worker.give(Order(batch.name, entry.token, batch.segment, entry.offset, entry.length))
        entry.pid = worker.pid
        self.running[worker.pid] = entry

    def employs(self, descriptor: int) -> bool:
        """Return whether this is the channel of a worker."""
        return descriptor in self._workers

    def hear(self, descriptor: int) -> Optional[Over]:
        """A worker's job is over, or the worker is; return which, if it had one."""
        worker = self._workers[descriptor]
        answer = worker.answer()
        entry = self.running.pop(worker.pid, None)
        status = 0
        if answer is None or worker.served >= JOBS_PER_WORKER:
            self._poller.unregister(descriptor)
            del self._workers[descriptor]
            if worker in self._idle:
                self._idle.remove(worker)
            status = worker.bury()
        else:
            self._idle.append(worker)
        if entry is None:
            return None
        if answer is None:
            process.kill_session(worker.pid)
        return Over(entry, answer, status)

    def cancel(self, entry: Entry) -> None:
        """Tell the process that runs a job to end it, and see to it that it does."""
        entry.cancelled = True
        entry.kill_at = time.monotonic() + KILL_AFTER
        self._dying.add(entry)
        process.kill(entry.pid, signal.SIGUSR1)

    def kill_overdue(self) -> bool:
        """Kill the cancelled jobs that are still there after KILL_AFTER; True while there are any that may be."""
        for entry in list(self._dying):
            if entry.over:
                self._dying.discard(entry)
            elif entry.kill_at is not None and time.monotonic() >= entry.kill_at:
                process.kill_session(entry.pid)
        return bool(self._dying)

    def dismiss(self) -> None:
        """Close all channels: a worker ends when its job has."""
        for descriptor in self._workers:
            os.close(descriptor)

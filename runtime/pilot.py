"""A pilot: one process in a batch slot that takes job after job, until there are none or its time is up.

Late binding: a job is claimed when it can start, not before. The claim is the run: whoever has made it is the only one who may
ever run that attempt. A pilot that dies costs its slot; what it had claimed is declared lost and tried again under another token.
"""

import collections
import gc
import os
import select
import signal
import socket
import sys
import time
from typing import Any, Deque, Dict

from runtime import attempt, process, recovery, shared
from runtime.entry import Entry
from runtime.journal import Journal
from runtime.recovery import Batch
from runtime.shared import Shared
from runtime.spool import append, line
from runtime.staff import Over, Staff

FIRST_LOOK = 0.05
LAST_LOOK = 2.0
"""Seconds between two looks for new work: doubled each time that there is none."""
LISTEN_S = 2.0
"""Seconds between two looks at what it is told."""
MARGIN_S = 60.0
"""Seconds that a job gets beyond its limits to bring its output out, before the pilot's own time is up."""


class Pilot(object):
    """`slots` cores and `memory` MB (0: not counted) are given to jobs; it ends after `idle` seconds without one, and takes
    none that could not end within `wall` seconds of its start (0: no limit)."""

    def __init__(self, where: Shared, slots: int, memory: int, idle: float, wall: float) -> None:
        self.where = where
        self.name = where.writer
        self.slots = slots
        self.memory = memory
        self.idle = idle
        self.end = time.monotonic() + wall if wall else float("inf")
        self.boot = process.boot_id()
        self.node = socket.gethostname()
        self.journal = Journal(where)
        self.batches: Dict[str, Deque[Entry]] = {}
        self.stopping = False
        self.free = slots
        self.free_memory = memory
        self.signed = time.monotonic()
        self.unsaved = False
        self.served = 0

    def run(self) -> int:
        """Work until the end; return 0 if it came in order."""
        gc.disable()  # a collection would touch every page that the forked processes share
        self.where.create()
        self.poller = select.poll()
        wake, bell = os.pipe()
        self.poller.register(wake, select.POLLIN)
        os.set_blocking(bell, False)
        signal.set_wakeup_fd(bell)
        for number in (signal.SIGTERM, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, self._stop)
        self.staff = Staff(self.where, self.poller, [wake, bell], self.boot, self.node, self.name)
        self._sign()
        try:
            self._loop(wake)
            self._save()
            append(self.journal.descriptor(1), line(shared.LEFT, "", at=time.time(), served=self.served))
            os.unlink(self.where.sign(self.name))
            attempt.remove(self.where.told(self.name))
        finally:
            signal.set_wakeup_fd(-1)
            self.staff.dismiss()
            self.journal.close()
        return 0

    def _stop(self, *_: Any) -> None:
        """Take no more jobs, and end with the last one that runs."""
        self.stopping = True

    def _loop(self, wake: int) -> None:
        busy = told = time.monotonic()
        pause = FIRST_LOOK
        while True:
            if self._take_work():
                pause = FIRST_LOOK
            now = time.monotonic()
            if self.staff.running:
                busy = now
            elif self.stopping or now - busy >= self.idle:
                return
            if self.free and not self.stopping:
                pause = min(pause * 2, LAST_LOOK)
                wait = min(pause, LISTEN_S)
            else:
                wait = LISTEN_S
            self._listen(wake, wait)
            now = time.monotonic()
            self._keep_lease(now)
            self.staff.kill_overdue()
            if now - told >= LISTEN_S:
                told = now
                self._obey()
                self._save()

    def _listen(self, wake: int, wait: float) -> None:
        for descriptor, _ in self.poller.poll(wait * 1000):
            if descriptor == wake:
                os.read(wake, 4096)
            elif self.staff.employs(descriptor):
                over = self.staff.hear(descriptor)
                if over is not None:
                    self._judge(over)

    def _sign(self) -> None:
        self.signed = time.monotonic()
        said = {"host": self.node, "pid": os.getpid(), "slots": self.slots, "running": len(self.staff.running)}
        shared.show_sign(self.where, self.name, dict(said, served=self.served, stopping=self.stopping))

    def _keep_lease(self, now: float) -> None:
        """Show a sign of life when it is time; after a long silence (suspended, or no file server) give all jobs up."""
        if now - self.signed > shared.LEASE_S:
            for pid in list(self.staff.running):
                process.kill_session(pid)
            raise SystemExit("no sign of life for {:.0f} s: the jobs are given up".format(now - self.signed))
        if now - self.signed >= shared.SIGN_S:
            try:
                self._sign()
            except OSError as fault:
                sys.stderr.write("no sign of life: {}\n".format(fault))

    def _obey(self) -> None:
        words = set(shared.heard(self.where, self.name))
        if shared.STOP in words:
            self.stopping = True
        for entry in list(self.staff.running.values()):
            if entry.token in words and not entry.cancelled:
                self.staff.cancel(entry)

    def _save(self) -> None:
        """Flush what ended to the file server, so that the agent sees it also if this node goes away."""
        if self.unsaved and self.journal.say_unsaid():
            try:
                os.fdatasync(self.journal.descriptor(1))
                self.unsaved = False
            except OSError as fault:
                sys.stderr.write("the journal cannot be flushed: {}\n".format(fault))

    # work

    def _take_work(self) -> bool:
        """Claim and start what fits, oldest first; True if anything was."""
        if self.stopping or not self.free:
            return False
        if not any(self.batches.values()):
            self._look()
        started = False
        for name in list(self.batches):
            if self.free:
                started = self._take_from(self.batches[name]) or started
        return started

    def _take_from(self, entries: Deque[Entry]) -> bool:
        """Take from a submission until something starts or nothing is left to try.

        Whoever stopped after one round would go past the same job as the pilot before it, end idle, and so would the next one.
        """
        while True:
            left = len(entries)
            if self._go_round(entries):
                return True
            if len(entries) == left:  # nothing was tried: all gone, or what is next is too large now
                return False

    def _go_round(self, entries: Deque[Entry]) -> bool:
        """Take from a submission, once round at most; where others are at work, leave them more and more room.

        So a hundred pilots at one submission do not all try to claim each of its jobs. A job that is too large for what is
        free now has everything after it wait: it would never have its turn otherwise.
        """
        started = False
        misses = skip = 0
        for _ in range(len(entries)):
            entry = entries[0]
            if not self.free or entry.cores > self.free or (self.memory and entry.memory > self.free_memory):
                break
            entries.popleft()
            if skip:
                skip -= 1
                entries.append(entry)
            elif self._in_time(entry) and self._claim(entry):
                self._start(entry)
                started = True
            else:
                skip = misses
                misses += 1
        return started

    def _look(self) -> None:
        """Read the submissions that are not known yet, oldest first."""
        try:
            with os.scandir(self.where.batches) as found:
                ages = {entry.name[:-5]: entry.stat().st_mtime for entry in found if entry.name.endswith(".jobs")}
        except OSError as fault:
            sys.stderr.write("{}: {}\n".format(self.where.batches, fault))
            return
        self.batches = {name: entries for name, entries in self.batches.items() if name in ages}
        for name in sorted(set(ages) - set(self.batches), key=lambda name: ages[name]):
            try:
                self.batches[name] = self._entries(name)
            except (OSError, ValueError, KeyError, TypeError) as fault:
                sys.stderr.write("{}: {!r}\n".format(name, fault))

    def _entries(self, name: str) -> Deque[Entry]:
        batch = Batch(name, self.where.batch(name), 1, self.boot)
        header = batch.header()
        offset = header["start"]
        entries: Deque[Entry] = collections.deque()
        for token, cores, length, memory, wall in header["jobs"]:
            entry = Entry(token, cores, batch, offset, length)
            entry.memory, entry.wall = memory, wall
            entries.append(entry)
            offset += length + 1
        os.makedirs(self.where.batch_directory(name), exist_ok=True)
        return entries

    def _in_time(self, entry: Entry) -> bool:
        return time.monotonic() + entry.wall + MARGIN_S <= self.end or self.end == float("inf")

    def _claim(self, entry: Entry) -> bool:
        """Take an attempt for this pilot. A submission that is gone was done with: its claims may be gone as well."""
        path = self.where.claim_of(entry.token)
        if not recovery.claim(path, "{}/{}".format(self.name, entry.token)):
            return False
        if os.path.exists(entry.batch.path):
            return True
        os.unlink(path)
        return False

    def _start(self, entry: Entry) -> None:
        try:
            self.staff.give(entry)
        except OSError as fault:  # no process or no descriptor to be had
            self.journal.end(1, entry.token, code=1, reason="cannot be started: {}".format(fault), at=time.time())
            return
        self.served += 1
        self.free -= entry.cores
        self.free_memory -= entry.memory

    def _judge(self, over: Over) -> None:
        """A worker has come back from a job, or has died of it."""
        entry = over.entry
        entry.over = True
        self.unsaved = True
        self.free += entry.cores
        self.free_memory += entry.memory
        if over.answer is None:
            reason = "cancelled" if entry.cancelled else "the runtime is gone and left no report"
            number = os.WTERMSIG(over.status) if os.WIFSIGNALED(over.status) else None
            code = None if number else os.WEXITSTATUS(over.status)
            self.journal.end(1, entry.token, code=code, signal=number, reason=reason, at=time.time())
        elif over.answer == attempt.UNSAID:
            self.journal.end(1, entry.token, code=1, reason="the runtime could not write its report", at=time.time())

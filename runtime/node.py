"""The node daemon: takes one submitted job after another and runs each in a process of its own."""

import collections
import gc
import json
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from typing import Any, Deque, Dict, List, Optional

from runtime import attempt, process, recovery
from runtime.adopted import Adopted
from runtime.entry import Entry
from runtime.journal import Journal
from runtime.recovery import Batch, Past
from runtime.spool import Spool
from runtime.staff import Over, Staff

SWEEP = 5.0
"""Seconds between two looks at the inbox when nobody wakes the daemon."""
RETRY = 0.5
"""Seconds until something is tried again that no event tells of."""
MAX_LOSSES = 3
"""A job whose workers die so often before they have begun it is given up."""
GONE = "the runtime is gone and left no report"


class Node(object):
    """The jobs of one spool directory. The journal is its memory: another daemon can go on at any instant."""

    def __init__(self, where: Spool, slots: int, idle: float) -> None:
        self.where = where
        self.slots = slots
        self.idle = idle
        self.boot = process.boot_id()
        self.host = socket.gethostname()
        self.journal = Journal(where)
        self.entries: Dict[str, Entry] = {}
        self.waiting: Deque[Entry] = collections.deque()
        self.used = 0
        self.past: Optional[Past] = None
        self.stopping = False
        self.look = True

    def run(self, lock: int) -> None:
        """Work until there was nothing to do for `idle` seconds, or SIGTERM; running jobs outlive the daemon."""
        gc.disable()  # a collection would touch every page that the forked processes share
        self.wake = os.open(self.where.wake, os.O_RDWR | os.O_NONBLOCK)
        self.poller = select.poll()
        self.poller.register(self.wake, select.POLLIN)
        self.staff = Staff(self.where, self.poller, [self.wake, lock], self.boot, self.host)
        self.adopted = Adopted(self.where, self.poller, self.boot)
        signal.signal(signal.SIGTERM, self._stop)
        try:
            self._recover()
            self._loop()
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.journal.close()
            self.staff.dismiss()
            os.close(self.wake)

    def _stop(self, *_: Any) -> None:
        self.stopping = True
        os.write(self.wake, b"!")

    def _loop(self) -> None:
        busy = time.monotonic()
        dying = False
        while not self.stopping:
            if self.look:
                self.look = False
                self._take_inbox()
            self._start_waiting()
            said = self.journal.say_unsaid()
            now = time.monotonic()
            if self.entries or not said:
                busy = now
            elif now - busy >= self.idle:
                return
            restless = not said or dying or self.adopted.unwatched()
            self._listen(RETRY if restless else max(0.0, min(SWEEP, busy + self.idle - now)))
            self._look_after_adopted()
            dying = self.staff.kill_overdue()

    def _listen(self, pause: float) -> None:
        heard = self.poller.poll(pause * 1000)
        self.look = self.look or not heard
        for descriptor, _ in heard:
            if self.staff.employs(descriptor):
                over = self.staff.hear(descriptor)
                if over is not None:
                    self._judge(over)
            elif descriptor == self.wake:
                self.look = True
                os.read(descriptor, 65536)

    # what an earlier daemon left

    def _recover(self) -> None:
        names = recovery.pending(self.where)
        if not names and not os.listdir(self.where.inbox):
            return
        self.past = Past(self.where)
        for name in names:
            batch = self.past.batches.get(name)
            if batch is None:
                file = name + ".jobs"
                os.rename(os.path.join(self.where.batches, file), os.path.join(self.where.inbox, file))
            else:
                self._enter(batch)

    def _enter(self, batch: Batch) -> None:
        """Take the jobs of an accepted submission that have not ended."""
        header = batch.header()
        ended = self.past.ended if self.past else set()
        entries: List[Entry] = []
        offset = header["start"]
        for token, cores, length in header["jobs"]:
            if token not in ended:
                entries.append(Entry(token, cores, batch, offset, length))
            offset += length + 1
        batch.left = len(entries)
        for entry in entries:
            self.entries[entry.token] = entry
            if batch.fresh:
                self.waiting.append(entry)
            else:
                self._place(entry)
        if not entries:
            os.unlink(batch.path)

    def _place(self, entry: Entry) -> None:
        """Find out where a job stands that an earlier daemon may have started."""
        who = recovery.claim_of(self.where.claim(entry.batch.name, entry.token))
        if who is None:
            if entry.batch.boot == self.boot:
                self.waiting.append(entry)
            else:
                self._end(entry, reason="the node was restarted")
            return
        pid = process.alive(who, self.boot)
        if pid is not None:
            self._adopt(entry, pid)
        elif not self._ended_by_itself(entry):
            self._bury(entry, who)

    def _bury(self, entry: Entry, who: str) -> None:
        """A job's claimant is dead and has not said how the job ended."""
        if who == "cancelled":
            self._end(entry, reason=who)
            return
        process.kill_orphans(who, self.boot)
        self._end(entry, signal=int(signal.SIGKILL), reason="cancelled" if entry.cancelled else GONE)

    def _adopt(self, entry: Entry, pid: int) -> None:
        self.used += entry.cores
        self.adopted.take(entry, pid)

    def _ended_by_itself(self, entry: Entry) -> bool:
        if self.past is None:
            self.past = Past(self.where)
        else:
            self.past.read_on()
        if entry.token in self.past.ended:
            self._finish(entry)
            return True
        return False

    def _look_after_adopted(self) -> None:
        if not self.adopted:
            return
        for entry, who in self.adopted.gone():
            self.used -= entry.cores
            if not self._ended_by_itself(entry):
                self._bury(entry, who)
        if not self.adopted:
            self.past = None

    # what the agent asks for

    def _take_inbox(self) -> None:
        with os.scandir(self.where.inbox) as found:
            entries = sorted(found, key=lambda entry: entry.stat().st_mtime_ns)
        for kind, take in ((".jobs", self._accept), (".cancel", self._cancel)):
            for entry in entries:
                if entry.name.endswith(kind):
                    try:
                        take(entry.name, entry.path)
                    except (ValueError, KeyError, TypeError) as fault:
                        sys.stderr.write("{}: {!r}\n".format(entry.path, fault))
                        os.rename(entry.path, entry.path + ".bad")

    def _accept(self, name: str, path: str) -> None:
        name = name[:-5]
        batch = self.past.batches.get(name) if self.past else None
        if batch is None:
            batch = Batch(name, path, 0, self.boot)
            header = batch.header()
            self.slots = int(header.get("slots") or self.slots)
            self.idle = float(header.get("idle_s") or self.idle)
            tokens = [token for token, _, _ in header["jobs"]]
            batch.segment = self.journal.accept(
                batch=name, tokens=tokens, boot=self.boot, node=self.host, at=time.time()
            )
            batch.fresh = True
            os.makedirs(self.where.batch_directory(name), exist_ok=True)
        batch.path = os.path.join(self.where.batches, name + ".jobs")
        os.rename(path, batch.path)
        self._enter(batch)
        self.journal.forget({entry.batch.segment for entry in self.entries.values()})
        gc.collect()

    def _cancel(self, _: str, path: str) -> None:
        with open(path) as source:
            tokens = json.load(source)
        for token in tokens:
            entry = self.entries.get(token)
            if entry is None or entry.cancelled:
                continue
            if not entry.pid and recovery.claim(self.where.claim(entry.batch.name, token), "cancelled"):
                self._end(entry, reason="cancelled")
            elif entry.pid:
                self.staff.cancel(entry)
        os.unlink(path)

    # the jobs themselves

    def _start_waiting(self) -> None:
        while self.waiting:
            entry = self.waiting[0]
            cores = min(entry.cores, self.slots)
            if entry.over:
                self.waiting.popleft()
                continue
            if self.used + cores > self.slots:
                return
            try:
                self._start(entry, cores)
            except OSError as fault:  # no process or no descriptor to be had
                sys.stderr.write("cannot start {}: {}\n".format(entry.token, fault))
                time.sleep(RETRY)
                return
            self.waiting.popleft()

    def _start(self, entry: Entry, cores: int) -> None:
        self.staff.give(entry)
        entry.cores = cores
        self.used += cores

    def _judge(self, over: Over) -> None:
        """A worker has come back from a job, or has died of it."""
        entry = over.entry
        self.used -= entry.cores
        if over.answer is None:
            self._lose(entry, over.status)
        elif over.answer == attempt.DONE:
            self._finish(entry)
        elif over.answer == attempt.TAKEN:
            entry.pid = 0
            self._place(entry)
        else:
            self._end(entry, code=1, reason="the runtime could not write its report")

    def _lose(self, entry: Entry, status: int) -> None:
        """The process that ran a job is dead."""
        reason = "cancelled" if entry.cancelled else GONE
        entry.losses += 1
        begun = recovery.claim_of(self.where.claim(entry.batch.name, entry.token)) is not None
        if not begun and not entry.cancelled and entry.losses < MAX_LOSSES:
            entry.pid = 0
            self.waiting.appendleft(entry)
        elif os.WIFSIGNALED(status):
            self._end(entry, signal=os.WTERMSIG(status), reason=reason)
        else:
            self._end(entry, code=os.WEXITSTATUS(status), reason=reason)

    def _end(self, entry: Entry, code: Optional[int] = None, signal: Optional[int] = None, reason: str = "") -> None:
        self.journal.end(entry.batch.segment, entry.token, code=code, signal=signal, reason=reason, at=time.time())
        self._finish(entry)

    def _finish(self, entry: Entry) -> None:
        entry.over = True
        self.entries.pop(entry.token, None)
        entry.batch.left -= 1
        if entry.batch.left == 0:
            with suppress(FileNotFoundError):
                os.unlink(entry.batch.path)

"""The jobs that an earlier daemon of the node started and that run still."""

import os
import select
from typing import Any, Dict, List, Tuple

from runtime import process, recovery
from runtime.entry import Entry
from runtime.spool import Spool


class Adopted(object):
    """They are no children of this daemon: the kernel tells of their end by a handle on them, or nobody does."""

    def __init__(self, where: Spool, poller: Any, boot: str) -> None:
        self._where = where
        self._poller = poller
        self._boot = boot
        self._entries: Dict[int, Entry] = {}

    def __bool__(self) -> bool:
        return bool(self._entries)

    def unwatched(self) -> bool:
        """Return whether any can end without a sign (before Python 3.9, or Linux 5.3)."""
        return any(entry.handle < 0 for entry in self._entries.values())

    def take(self, entry: Entry, pid: int) -> None:
        """Look after the job that runs in a process."""
        entry.pid = pid
        self._entries[pid] = entry
        if hasattr(os, "pidfd_open"):
            try:
                entry.handle = os.pidfd_open(pid)
                self._poller.register(entry.handle, select.POLLIN)
            except OSError:
                pass

    def gone(self) -> List[Tuple[Entry, str]]:
        """Return, and forget, the jobs whose process is dead, each with who that was."""
        found = []
        for pid, entry in list(self._entries.items()):
            who = recovery.claim_of(self._where.claim(entry.batch.name, entry.token))
            if who is not None and process.alive(who, self._boot) == pid:
                continue
            del self._entries[pid]
            if entry.handle >= 0:
                self._poller.unregister(entry.handle)
                os.close(entry.handle)
            found.append((entry, who or ""))
        return found

"""Watches a running program: its limits, softly first, and its heartbeat."""

import json
import os
import signal
import stat
import time
from contextlib import suppress
from typing import Any, Dict, Optional, Sequence

from runtime import codes, process

MEGABYTE = 10**6
FIRST_LOOK = 0.5
"""Seconds until a program is looked at for the first time; doubled each time up to `sample_s`."""
HARD = 1.1
"""Beyond so many times its limit of memory or disk a program is killed at once."""


class Heart(object):
    """The file that says how a job is doing, replaced each `every` seconds; not before it is FIRST_LOOK old.

    `counts` is where the payload may write {"events": N} while it works; without it the lines of `output` count.
    """

    def __init__(self, path: str, every: float, counts: str, output: str) -> None:
        self._path = path
        self._every = every
        self._counts = counts
        self._output = output
        self._lines = 0
        self._read = 0
        self._due = time.monotonic() + FIRST_LOOK
        self._started = time.monotonic()

    def beat(self, step: str, **figures: float) -> None:
        """Write the file if it is time to; a full disk does not stop a job."""
        now = time.monotonic()
        if not self._path or now < self._due:
            return
        self._due = now + self._every
        said = {"schema": 1, "at": time.time(), "step": step, "wall_s": round(now - self._started, 3)}  # type: Dict[str, Any]
        said.update(figures, events=self._events())
        with suppress(OSError):
            with open(self._path + ".part", "w") as sink:
                json.dump(said, sink)
            os.rename(self._path + ".part", self._path)

    def _events(self) -> Optional[int]:
        try:
            with open(self._counts, encoding="utf-8") as source:
                events = json.load(source)["events"]
            return events if isinstance(events, int) else None
        except (OSError, ValueError, KeyError, TypeError):
            return self._new_lines()

    def _new_lines(self) -> Optional[int]:
        """Read on where the last beat stopped: what a growing output costs is what it grew by."""
        if not self._output:
            return None
        try:
            with open(self._output, "rb", buffering=0) as source:
                source.seek(self._read)
                block = source.read(1 << 20)
                while block:
                    self._lines += block.count(b"\n")
                    self._read += len(block)
                    block = source.read(1 << 20)
        except OSError:
            return None
        return self._lines


class Watch(object):
    """What a job may use, and what was done about it: `code` and `text` are set when a limit was passed.

    Memory is the PSS of all its processes, disk all that is in `places`; `sample_s` is the longest pause between two
    looks, `grace_s` the time from the soft signal (SIGUSR2: finish the event, write the output) to the hard.
    """

    def __init__(self, limits: Dict[str, Any], started: float, places: Sequence[str], heart: Heart) -> None:
        wall = limits.get("wall_s")
        self.deadline: Optional[float] = started + float(wall) if wall else None
        self.wall = wall
        self.memory = int(limits.get("memory_mb") or 0) * MEGABYTE
        self.disk = int(limits.get("disk_mb") or 0) * MEGABYTE
        self.grace = float(limits.get("grace_s", 300))
        self.longest = float(limits.get("sample_s", 30))
        self.kill_at: Optional[float] = None
        self.code = codes.OK
        self.text = ""
        self.step = ""
        self.cpu = 0.0
        self.peak = 0
        self._places = places
        self._heart = heart

    def pause(self, now: float, look: float) -> float:
        """Return the seconds until the next look at a running program."""
        nearest = [moment for moment in (self.deadline if not self.code else None, self.kill_at) if moment is not None]
        return max(0.0, min([look] + [moment - now for moment in nearest]))

    def look(self, group: int, now: float) -> None:
        """Take a sample of a program, and signal it if it is beyond a limit."""
        family = process.family(group)
        used = process.memory(family)
        self.peak = max(self.peak, used)
        kept = sum(map(_taken, self._places)) if self.disk else 0
        figures = {
            "memory_mb": used / MEGABYTE,
            "disk_mb": kept / MEGABYTE,
            "cpu_s": self.cpu + sum(one.cpu for one in family),
        }
        self._heart.beat(self.step, **{name: round(figure, 3) for name, figure in figures.items()})
        self._enforce(group, now, used, kept)

    def _enforce(self, group: int, now: float, used: int, kept: int) -> None:
        excess = max(used / self.memory if self.memory else 0.0, kept / self.disk if self.disk else 0.0)
        if excess > HARD:
            self._pass(used, kept)
            process.kill_group(group, signal.SIGKILL)
        elif self.kill_at is not None and now >= self.kill_at:
            self.kill_at = now + 1  # once more, should it not be gone by then
            process.kill_group(group, signal.SIGKILL)
        elif not self.code and (excess > 1 or (self.deadline is not None and now >= self.deadline)):
            self._pass(used, kept)
            self.kill_at = now + self.grace
            process.tell(group, signal.SIGUSR2)

    def _pass(self, used: int, kept: int) -> None:
        """Note the first limit that was passed."""
        if self.code:
            return
        text = "{} limit: {} MB used, {} allowed"
        if self.memory and used > self.memory:
            self.code = codes.MEMORY
            self.text = text.format("memory", used // MEGABYTE, self.memory // MEGABYTE)
        elif self.disk and kept > self.disk:
            self.code = codes.DISK
            self.text = text.format("disk", kept // MEGABYTE, self.disk // MEGABYTE)
        else:
            self.code, self.text = codes.WALL_TIME, "wall time limit of {} s".format(self.wall)


def _taken(place: str) -> int:
    """Return the bytes on disk of a file, or of a directory with everything below it, links not followed."""
    try:
        found = os.lstat(place)
        if not stat.S_ISDIR(found.st_mode):
            return found.st_blocks * 512
        return sum(_taken(os.path.join(place, name)) for name in os.listdir(place))
    except OSError:
        return 0

"""Counts, checks and publishes the file that a job leaves."""

import json
import os
from typing import Any, Dict, List, Optional, Sequence

from runtime import codes
from runtime.checksum import Digest
from runtime.payload import COUNTS
from runtime.problem import Problem
from runtime.stage_out import STEP, StageOut

TOLD = ("runs", "lumis", "branches", "skipped_events", "skipped_files")
"""What a payload may tell of its output besides the events."""


class Output(object):
    """The output of one attempt at `path`; `counts` is where the payload tells what is in it, `paths` where it read `inputs`."""

    def __init__(
        self, what: Dict[str, Any], path: str, counts: str, inputs: Sequence[Dict[str, Any]], paths: Sequence[str]
    ) -> None:
        self._what = what
        self._wanted: Dict[str, Any] = what["output"]
        self._path = path
        self._counts = counts
        self._inputs = inputs
        self._paths = paths
        self._events = 0
        self._stage: Optional[StageOut] = None

    def publish(self, token: str) -> Dict[str, Any]:
        """Return the report of the file under its final name; raise Problem."""
        if not os.path.isfile(self._path):
            raise Problem(codes.OUTPUT_MISSING, "the payload left no file {}".format(self._wanted["file"]), STEP)
        told = self._told()
        self._refuse_left_out(told.get("skipped_files") or [])
        self._known = self._events_known(told)
        lfn = self._wanted["lfn"]
        if os.stat(self._path).st_size >= self._wanted.get("merged_from_bytes", float("inf")):
            lfn = self._wanted.get("merged_lfn") or lfn  # large enough to need no merge
        self._stage = StageOut(token, self._what.get("stage_out_pauses_s") or [], self._accept)
        placed = self._stage.run(self._path, lfn, self._what["stage_out"])
        report = {"lfn": lfn, "pfn": placed.pfn, "size": placed.digest.size, "events": self._events}
        report.update(adler32=placed.digest.adler32, sha256=placed.digest.sha256)
        if placed.site:
            report["site"] = placed.site
        if self._inputs:
            report["parents"] = [entry["lfn"] for entry in self._inputs]
        report.update((key, told[key]) for key in TOLD if key in told)
        return report

    def withdraw(self) -> None:
        """Take back what was published, because the job failed after all."""
        if self._stage is not None:
            self._stage.withdraw()

    def _refuse_left_out(self, skipped: Sequence[str]) -> None:
        """Name the inputs that a merge left out, by LFN or path, as bad ones: their events would be in no file."""
        if self._what.get("type") != "merge":
            return
        left = [entry for entry, path in zip(self._inputs, self._paths) if entry["lfn"] in skipped or path in skipped]
        for entry in left:
            entry.update(ok=False, problem="left out by the payload")
        if left:
            text = "{} of {} inputs left out by the payload: {lfn}"
            raise Problem(codes.INPUT_UNREADABLE, text.format(len(left), len(self._inputs), **left[0]), "inputs")

    def _accept(self, digest: Digest) -> None:
        self._events = digest.lines if self._known is None else self._known
        expected = self._events_in() if self._what.get("type") == "merge" else self._events
        if self._events != expected:
            text = "{} events in the inputs, {} in the output".format(expected, self._events)
            raise Problem(codes.EVENTS_DIFFER, text, STEP)

    def _events_in(self) -> int:
        return sum(int(entry["events"]) for entry in self._inputs)

    def _events_known(self, told: Dict[str, Any]) -> Optional[int]:
        """Return the events as counted without reading the output, or None if its lines are to be counted."""
        count = self._wanted["count"]
        if count == "lines":
            return None
        if count == "inputs":
            return self._events_in()
        events = told.get("events")
        if not isinstance(events, int) or isinstance(events, bool) or events < 0:
            text = "the event count in the file that ${} names is {!r}, expected a number"
            raise Problem(codes.COUNT_MISSING, text.format(COUNTS, events), STEP)
        return events

    def _told(self) -> Dict[str, Any]:
        try:
            with open(self._counts, encoding="utf-8") as source:
                told = json.load(source)
        except (OSError, ValueError):
            return {}
        return _understood(told) if isinstance(told, dict) else {}


def _understood(told: Dict[str, Any]) -> Dict[str, Any]:
    """Return what has the right form: a payload may write anything, and the report has to stay valid."""
    right: List[bool] = []
    kept = {}
    for key, value in told.items():
        if key == "runs":
            right = [isinstance(value, list) and all(_number(run) for run in value)]
        elif key == "lumis":
            right = [isinstance(value, dict) and all(_numbers(lumis) for lumis in value.values())]
        elif key in ("branches", "skipped_files"):
            right = [isinstance(value, list) and all(isinstance(name, str) for name in value)]
        else:
            right = [key == "events" or (key == "skipped_events" and _number(value))]
        if all(right):
            kept[key] = value
    return kept


def _number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_number(item) for item in value)


def concatenate(inputs: Sequence[str], target: str) -> None:
    """Put files one after the other into a new one."""
    with open(target, "xb", buffering=0) as sink:
        for path in inputs:
            with open(path, "rb", buffering=0) as source:
                while os.sendfile(sink.fileno(), source.fileno(), None, 1 << 24):
                    pass

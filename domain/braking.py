"""When a workflow is paused because its payload is broken, and when it may go on (PA-407)."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

JUDGE_S = 5.0
"""Workflows with failures are judged once in this time, in seconds: that adds up all causes of each."""


class BrakeRules(NamedTuple):
    """The first `first` attempts all failed with one payload cause, or more than `percent` of at least `after` attempts
    failed by the payload. A braked workflow runs `probes` jobs before the others."""

    first: int = 10
    after: int = 50
    percent: float = 50.0
    probes: int = 3


class Record(NamedTuple):
    """Attempts of a workflow since it was last released: failed by the payload, by their most frequent cause, and good."""

    failed: int
    top: int
    top_cause: str
    succeeded: int


def fault(record: Record, rules: BrakeRules, *, probing: bool) -> str:
    """Return why the workflow has to stop, or "". `probing`: only its probes have run since it was released."""
    whole = record.failed + record.succeeded
    if probing and record.failed >= rules.probes and not record.succeeded:
        return f"all {record.failed} probes failed: {record.top_cause}"
    if not record.succeeded and record.top >= rules.first and record.top == record.failed:
        return f"its first {record.failed} attempts all failed: {record.top_cause}"
    if whole >= rules.after and 100.0 * record.failed > rules.percent * whole:
        return f"{record.failed} of {whole} attempts failed by the payload, most often: {record.top_cause}"
    return ""


def passed(record: Record, rules: BrakeRules) -> bool:
    """Return whether enough probes went well for the others to follow."""
    return record.succeeded >= rules.probes


class Suspects:
    """Workflows whose payload has failed since they were judged. The first `first` failures of one wait for nothing."""

    def __init__(self, first: int) -> None:
        self._first = first
        self._failures: Counter[int] = Counter()
        self._waiting: set[int] = set()
        self._judge_at = 0.0

    def add(self, workflow_ids: Iterable[int]) -> None:
        """Note failures, each by the id of its workflow."""
        for workflow_id in workflow_ids:
            self._waiting.add(workflow_id)
            self._failures[workflow_id] += 1
            if self._failures[workflow_id] == self._first:
                self._judge_at = 0.0

    def due(self, now: float) -> tuple[list[int], float]:
        """Return those to be judged now, or none and the seconds until there will be some."""
        if not self._waiting:
            return [], 0.0
        if now < self._judge_at:
            return [], self._judge_at - now
        due, self._waiting = sorted(self._waiting), set()
        self._judge_at = now + JUDGE_S
        return due, 0.0

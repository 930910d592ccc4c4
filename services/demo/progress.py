"""What a run looks like at one moment, and what is said of each fact."""

from collections import Counter
from collections.abc import Iterable

import msgspec

from domain.events import Event
from storage.views import Totals

PHRASES: dict[str, tuple[str, str]] = {
    "WorkflowsAdded": ("the workflow of the request is there", ""),
    "AllocationsAcquired": ("event range leased from the ProdMgr", "event ranges leased from the ProdMgr"),
    "JobsCreated": ("job made", "jobs made"),
    "JobsSubmitted": ("job submitted", "jobs submitted"),
    "JobsAccounted": ("job ended well, its output is booked", "jobs ended well, their outputs are booked"),
    "JobsFailed": ("job failed", "jobs failed"),
    "JobsCooledOff": ("job will be tried again", "jobs will be tried again"),
    "JobsRequeued": ("job is in the queue again", "jobs are in the queue again"),
    "JobsLost": ("job is absent without proof of an end", "jobs are absent without proof of an end"),
    "JobsExhausted": ("job is given up", "jobs are given up"),
    "FilesUnderMerge": ("file goes into a merge", "files go into a merge"),
    "MergedRegistered": ("merged file is booked", "merged files are booked"),
    "FilesInvalidated": ("damaged file is set aside", "damaged files are set aside"),
    "FilesCatalogued": ("file is in the catalogue", "files are in the catalogue"),
    "TransfersMoving": ("file is on its way to its destination", "files are on their way to their destination"),
    "TransfersVerified": ("file is delivered, its checksum agrees", "files are delivered, their checksums agree"),
    "TransfersWaiting": ("transfer will be tried again", "transfers will be tried again"),
    "FilesRemoved": ("small file is deleted: its events are delivered", "small files are deleted: they are delivered"),
    "AllocationsReported": ("range is reported to the ProdMgr", "ranges are reported to the ProdMgr"),
    "WorkflowsCompleted": ("the workflow is complete", ""),
}
"""Facts that are worth a line, for one item and for several."""


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """The run at one moment; `request` is what the ProdMgr says of it, `agent` of the process and its page."""

    seconds: float
    requested: int
    totals: Totals
    request: str
    agent: str

    @property
    def share(self) -> float:
        """How far the run is, 0 to 1."""
        done = self.totals.generated + self.totals.merged + self.totals.delivered
        return done / (3 * self.requested)


def lines(facts: Iterable[Event]) -> list[str]:
    """Return what is to be said of facts that came together: a line for those of one kind and reason that are worth one."""
    numbers = Counter[tuple[str, str]]()
    for fact in facts:
        numbers[type(fact).__name__, fact.reason] += len(fact.ids)
    return [_line(kind, number, reason) for (kind, reason), number in numbers.items() if kind in PHRASES]


def _line(kind: str, number: int, reason: str) -> str:
    one, several = PHRASES[kind]
    text = one if not several else f"{number:,} {one if number == 1 else several}"
    return f"{text} ({reason})" if reason else text


def counted(counts: dict[str, int]) -> str:
    """Return counts by state in one line."""
    return "  ".join(f"{state} {number:,}" for state, number in counts.items() if number) or "none yet"

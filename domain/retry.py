"""Decide what follows a failed attempt, from the blames of all attempts of the job (PA-401 to PA-404)."""

from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from domain.exit_codes import Blame, classify
from domain.job import JobType
from domain.spec import Retry

OUR_FAULTS = 50
"""So many of our own faults in a row are no accident; the job is given up and named."""


class Again(NamedTuple):
    """Try again after `delay_s` seconds."""

    delay_s: float
    reason: str


class GiveUp(NamedTuple):
    """No allowance is left."""

    reason: str


def decide(codes: Sequence[int], kind: JobType, retry: Retry, jitter: float) -> Again | GiveUp:
    """Return what follows, given the exit codes of all attempts so far, oldest first; the last one has just failed.

    Each blame has its own allowance; the agent's own faults use none, the first is mended at once. `jitter`, 0 to 1, places
    the delay in [0, base x 2**n] (full jitter), n = earlier failures of the same blame. What only time mends, such as a full
    storage element, waits between half the cap and all of it from the first time on.
    """
    last = classify(codes[-1])
    if not last.retry:
        return GiveUp(f"{last.name} (exit code {codes[-1]}) is never repeated")
    if last.blame is Blame.AGENT:
        return _our_own(codes, retry, jitter)
    spent = Counter(classify(code).blame for code in codes)[last.blame]
    allowed = {
        Blame.PAYLOAD: retry.merge if kind is JobType.MERGE else retry.processing,
        Blame.SITE: retry.site,
        Blame.INFRASTRUCTURE: retry.infrastructure,
    }[last.blame]
    if spent >= allowed:
        return GiveUp(f"{last.name} (exit code {codes[-1]}), attempt {spent} of {allowed} blamed on the {last.blame}")
    delay = min(retry.cap_s, retry.base_s * 2.0 ** min(spent - 1, 62)) * jitter
    if last.waits:
        delay = retry.cap_s * (1.0 + jitter) / 2.0
    return Again(delay, f"{last.name} (exit code {codes[-1]}), attempt {spent} of {allowed} blamed on the {last.blame}")


def _our_own(codes: Sequence[int], retry: Retry, jitter: float) -> Again | GiveUp:
    """The first of our own faults is mended at once; if it comes again and again, something is wrong that stays."""
    last = classify(codes[-1])
    row = len(list(takewhile(lambda code: classify(code).blame is Blame.AGENT, reversed(codes))))
    if row >= OUR_FAULTS:
        return GiveUp(f"{last.name} (exit code {codes[-1]}), {row} times in a row")
    delay = 0.0 if row == 1 else min(retry.cap_s, retry.base_s * 2.0 ** min(row - 2, 62)) * jitter
    return Again(delay, f"{last.name}: our own fault, no allowance used")

"""Cut event ranges into units of work: pure, disjoint and covering (PA-102, PA-117, PA-119)."""

from collections.abc import Iterator
from math import ceil

from domain.ranges import Range
from domain.spec import WorkflowSpec

MAX_SEED = 900_000_000
"""Largest seed that Pythia 8 takes (Random:seed)."""


def cut(whole: Range, events_per_job: int, *, done: int = 0, limit: int | None = None) -> Iterator[Range]:
    """Yield the next at most `limit` pieces of `whole` after its first `done` events; the last takes the rest.

    Raises ValueError unless events_per_job >= 1 and 0 <= done <= whole.events.
    """
    if events_per_job < 1:
        raise ValueError(f"events_per_job: got {events_per_job}, expected 1 or more")
    if not 0 <= done <= whole.events:
        raise ValueError(f"done: got {done}, expected 0 to {whole.events}")
    made = 0
    while done < whole.events and (limit is None or made < limit):
        events = min(events_per_job, whole.events - done)
        yield Range(whole.first + done, events)
        done += events
        made += 1


def generated_events(spec: WorkflowSpec) -> int:
    """Return how many events must be generated so that `spec.events` are expected after all filters (PA-102)."""
    yield_per_event = 1.0
    for step in spec.steps:
        yield_per_event *= step.filter_efficiency * step.event_multiplier
    return max(1, ceil(spec.events / yield_per_event - 1e-9))


def makes_each_event(spec: WorkflowSpec) -> bool:
    """Whether each event number gives exactly one event: no step filters or multiplies."""
    return all(step.filter_efficiency == 1.0 and step.event_multiplier == 1.0 for step in spec.steps)


def seed(spec: WorkflowSpec, first_event: int) -> int:
    """Return the random seed of the job that starts at `first_event`: 1 to MAX_SEED, the same whenever it is run."""
    return (spec.seed * 1_000_003 + first_event) % MAX_SEED + 1

"""Put small files into bins of the wanted size (PA-501)."""

from collections.abc import Sequence
from typing import NamedTuple

from domain.spec import Merge


class Waiting(NamedTuple):
    """A file that waits to be merged. `order` is its first event, so that merged files hold neighbours."""

    id: int
    size: int
    events: int
    order: int
    since: float


def plan(files: Sequence[Waiting], policy: Merge, *, now: float, flush: bool) -> list[list[int]]:
    """Return bins of file ids, each once, none above a limit except a single larger file.

    A bin goes when it is full: at least min_fraction of max_bytes, max_events or max_files, or when the next file does not
    fit. What is left stays, unless `flush` or its oldest file has waited max_wait_s: then it goes as it is.
    """
    bins: list[list[int]] = []
    current: list[Waiting] = []
    for file in sorted(files, key=lambda waiting: waiting.order):
        if current and not _fits(current, file, policy):
            bins.append([member.id for member in current])
            current = []
        current.append(file)
        if _full(current, policy):
            bins.append([member.id for member in current])
            current = []
    if current and (flush or now - min(member.since for member in current) >= policy.max_wait_s):
        bins.append([member.id for member in current])
    return bins


def _fits(members: Sequence[Waiting], file: Waiting, policy: Merge) -> bool:
    size = sum(member.size for member in members) + file.size
    events = sum(member.events for member in members) + file.events
    within_events = policy.max_events is None or events <= policy.max_events
    return size <= policy.max_bytes and within_events and len(members) < policy.max_files


def _full(members: Sequence[Waiting], policy: Merge) -> bool:
    size = sum(member.size for member in members)
    events = sum(member.events for member in members)
    enough_events = policy.max_events is not None and events >= policy.min_fraction * policy.max_events
    return size >= policy.min_fraction * policy.max_bytes or enough_events or len(members) >= policy.max_files


def large_enough(size: int, policy: Merge) -> bool:
    """Whether one file needs no merge at all (PA-503)."""
    return size >= policy.min_fraction * policy.max_bytes

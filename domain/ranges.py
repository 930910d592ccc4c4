"""Interval arithmetic over event numbers.

A set of event numbers is a list of ranges. What these functions return is sorted, without overlap, and touching ranges
are joined; what they take may come in any order.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Annotated, NamedTuple, TypeVar

from msgspec import Meta

LARGEST = 10**15
"""Largest first event and largest number of events: sums stay far inside 64 bits, and JSON readers keep them exact."""

L = TypeVar("L")


class Range(NamedTuple):
    """The event numbers first, first + 1, … first + events - 1."""

    first: Annotated[int, Meta(ge=0, le=LARGEST)]
    events: Annotated[int, Meta(ge=1, le=LARGEST)]

    @property
    def end(self) -> int:
        """The number after the last."""
        return self.first + self.events

    @classmethod
    def between(cls, first: int, end: int) -> "Range":
        """Return the range [first, end)."""
        return cls(first, end - first)


def total(ranges: Iterable[Range]) -> int:
    """Return how many events the ranges hold, counting an overlap twice."""
    return sum(piece.events for piece in ranges)


def union(*sets: Iterable[Range]) -> list[Range]:
    """Return the events that are in at least one of the sets."""
    joined: list[Range] = []
    for piece in sorted(piece for pieces in sets for piece in pieces if piece.events > 0):
        if joined and piece.first <= joined[-1].end:
            joined[-1] = Range.between(joined[-1].first, max(joined[-1].end, piece.end))
        else:
            joined.append(Range(*piece))
    return joined


def intersect(left: Iterable[Range], right: Iterable[Range]) -> list[Range]:
    """Return the events that are in both sets."""
    ours, theirs = union(left), union(right)
    shared: list[Range] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        first, end = max(ours[i].first, theirs[j].first), min(ours[i].end, theirs[j].end)
        if first < end:
            shared.append(Range.between(first, end))
        if ours[i].end <= theirs[j].end:
            i += 1
        else:
            j += 1
    return shared


def subtract(left: Iterable[Range], right: Iterable[Range]) -> list[Range]:
    """Return the events of `left` that are not in `right`."""
    holes = union(right)
    rest: list[Range] = []
    j = 0
    for piece in union(left):
        first = piece.first
        while j < len(holes) and holes[j].end <= first:
            j += 1
        k = j
        while k < len(holes) and holes[k].first < piece.end:
            if holes[k].first > first:
                rest.append(Range.between(first, holes[k].first))
            first = max(first, holes[k].end)
            k += 1
        if first < piece.end:
            rest.append(Range.between(first, piece.end))
    return rest


def first_overlap(ranges: Iterable[Range]) -> tuple[Range, Range] | None:
    """Return two ranges that share an event number, or None."""
    ordered = sorted(ranges)
    for before, after in pairwise(ordered):
        if after.first < before.end:
            return before, after
    return None


def covers(ranges: Iterable[Range], whole: Range) -> bool:
    """Say whether the ranges hold each event of `whole` exactly once and no other."""
    pieces = list(ranges)
    return first_overlap(pieces) is None and union(pieces) == [whole]


def paint(rows: Sequence[tuple[Range, L]], ranges: Iterable[Range], label: Callable[[L], L]) -> list[tuple[Range, L]]:
    """Return labelled ranges that hold the same events, those inside `ranges` with `label(old label)`.

    `rows` are disjoint. Touching rows with equal labels are joined; events of `ranges` that no row holds are left out.
    """
    brush = union(ranges)
    pieces: list[tuple[Range, L]] = []
    for row, old in rows:
        pieces.extend((piece, label(old)) for piece in intersect([row], brush))
        pieces.extend((piece, old) for piece in subtract([row], brush))
    painted: list[tuple[Range, L]] = []
    for piece, colour in sorted(pieces, key=lambda pair: pair[0].first):
        if painted and painted[-1][1] == colour and painted[-1][0].end == piece.first:
            painted[-1] = (Range.between(painted[-1][0].first, piece.end), colour)
        else:
            painted.append((piece, colour))
    return painted

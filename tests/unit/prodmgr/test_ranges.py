"""Interval arithmetic against sets of numbers."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ranges import Range, covers, first_overlap, intersect, paint, subtract, total, union

pytestmark = pytest.mark.feature("PM-02")

piece = st.builds(Range, st.integers(0, 60), st.integers(1, 15))
pieces = st.lists(piece, max_size=8)


def numbers(ranges: list[Range]) -> set[int]:
    return {number for found in ranges for number in range(found.first, found.end)}


def is_normal(ranges: list[Range]) -> bool:
    return all(before.end < after.first for before, after in itertools.pairwise(ranges))


@given(pieces, pieces)
def test_set_operations(left: list[Range], right: list[Range]) -> None:
    for operation, model in ((union, set.union), (intersect, set.intersection), (subtract, set.difference)):
        answer = operation(left, right)
        assert numbers(answer) == model(numbers(left), numbers(right))
        assert is_normal(answer)
        assert total(answer) == len(numbers(answer))


@given(pieces)
def test_overlap_is_found_when_there_is_one(ranges: list[Range]) -> None:
    found = first_overlap(ranges)
    assert (found is not None) == (total(ranges) != len(numbers(ranges)))
    if found:
        assert intersect([found[0]], [found[1]])


@given(pieces)
def test_covers_means_each_event_once(ranges: list[Range]) -> None:
    whole = Range(0, 75)
    assert not covers([*ranges, whole], whole) or not ranges
    assert covers([*union(ranges), *subtract([whole], ranges)], whole)


@given(st.lists(st.tuples(st.integers(1, 10), st.sampled_from("abc")), min_size=1, max_size=8), pieces)
def test_paint_conserves_events(rows: list[tuple[int, str]], brush: list[Range]) -> None:
    labelled: list[tuple[Range, str]] = []
    first = 0
    for events, label in rows:
        labelled.append((Range(first, events), label))
        first += events
    painted = paint(labelled, brush, str.upper)
    assert covers([found for found, _ in painted], Range(0, first))
    before = {number: label for found, label in labelled for number in numbers([found])}
    after = {number: label for found, label in painted for number in numbers([found])}
    brushed = numbers(brush)
    assert after == {number: label.upper() if number in brushed else label for number, label in before.items()}
    assert all(a[1] != b[1] for a, b in itertools.pairwise(painted))

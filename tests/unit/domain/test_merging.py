"""Merging puts every file in one bin, keeps the limits, and conserves events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.merging import Load, Waiting, plan
from domain.spec import Merge

SIZES = st.integers(0, 400)


@st.composite
def heaps(draw: st.DrawFn) -> list[Waiting]:
    sizes = draw(st.lists(st.tuples(SIZES, st.integers(0, 50), st.integers(0, 1000), st.integers(0, 100)), max_size=40))
    return [Waiting(n + 1, size, events, order, float(since)) for n, (size, events, order, since) in enumerate(sizes)]


POLICIES = st.builds(
    Merge,
    min_fraction=st.floats(0.01, 1.0),
    max_bytes=st.integers(1, 1000),
    max_events=st.none() | st.integers(1, 200),
    max_files=st.integers(1, 10),
    max_wait_s=st.integers(1, 50),
)


@pytest.mark.feature("PA-501", "PA-508")
@given(heaps(), POLICIES, st.booleans(), st.floats(0, 200))
def test_laws(files, policy, flush, now):
    by_id = {file.id: file for file in files}
    bins = plan(files, policy, now=now, flush=flush)
    placed = [member for members in bins for member in members]
    assert len(placed) == len(set(placed))
    assert set(placed) <= set(by_id)
    for members in bins:
        assert members
        assert len(members) <= policy.max_files
        if len(members) > 1:
            assert sum(by_id[member].size for member in members) <= policy.max_bytes
            assert policy.max_events is None or sum(by_id[member].events for member in members) <= policy.max_events
    assert bins == plan(list(reversed(files)), policy, now=now, flush=flush) or len({f.order for f in files}) < len(
        files
    )
    left = [by_id[identity] for identity in set(by_id) - set(placed)]
    if flush:
        assert not left
    else:
        assert all(now - file.since < policy.max_wait_s for file in left)
        assert not _load(left).full(policy)


def _load(files):
    load = Load()
    for file in files:
        load = load.plus(file)
    return load


@pytest.mark.feature("PA-505")
@given(heaps(), POLICIES)
def test_what_is_not_full_by_its_sums_makes_no_bin(files, policy):
    """So the files need not be read: that is why a new file costs the same however many wait."""
    young = [file._replace(since=0.0) for file in files]
    if not _load(young).full(policy):
        assert plan(young, policy, now=0.5, flush=False) == []


@pytest.mark.feature("PA-511")
@given(heaps(), POLICIES)
def test_flushing_conserves_every_event_and_byte(files, policy):
    by_id = {file.id: file for file in files}
    placed = [by_id[member] for members in plan(files, policy, now=0.0, flush=True) for member in members]
    assert sum(file.events for file in placed) == sum(file.events for file in files)
    assert sum(file.size for file in placed) == sum(file.size for file in files)


def heap(*sizes: int) -> list[Waiting]:
    return [Waiting(n, size, 10, n, 0.0) for n, size in enumerate(sizes, start=1)]


POLICY = Merge(max_bytes=100, min_fraction=0.75, max_files=4, max_wait_s=60)


@pytest.mark.feature("PA-501")
@pytest.mark.parametrize(
    ("sizes", "flush", "now", "bins"),
    [
        ((), True, 0, []),
        ((40, 40), False, 0, [[1, 2]]),
        ((30, 30), False, 0, []),
        ((30, 30), False, 59, []),
        ((30, 30), False, 60, [[1, 2]]),
        ((30, 30), True, 0, [[1, 2]]),
        ((300,), False, 0, [[1]]),
        ((30, 300, 30), True, 0, [[1], [2], [3]]),
        ((30, 80), False, 0, [[1], [2]]),
        ((1, 1, 1, 1, 1), False, 0, [[1, 2, 3, 4]]),
        ((70, 30), False, 0, [[1, 2]]),
        ((70, 31), True, 0, [[1], [2]]),
    ],
)
def test_bins(sizes, flush, now, bins):
    assert plan(heap(*sizes), POLICY, now=now, flush=flush) == bins


@pytest.mark.feature("PA-501")
def test_events_close_a_bin_too():
    policy = Merge(max_bytes=10**9, max_events=25, min_fraction=0.8)
    assert plan(heap(1, 1, 1, 1), policy, now=0, flush=False) == [[1, 2], [3, 4]]


def test_a_bin_holds_neighbours():
    files = [Waiting(1, 40, 1, 300, 0), Waiting(2, 40, 1, 100, 0), Waiting(3, 40, 1, 200, 0)]
    assert plan(files, POLICY, now=0, flush=True) == [[2, 3], [1]]

"""Splitting covers, never overlaps, and always gives the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.ranges import Range, covers
from domain.spec import Step, WorkflowSpec
from domain.splitting import MAX_SEED, cut, generated_events, seed

RANGES = st.builds(Range, st.integers(1, 10**15), st.integers(1, 5000))
SIZES = st.integers(1, 6000)


def spec_of(*steps: Step, events: int = 1000, seed_: int = 1) -> WorkflowSpec:
    return WorkflowSpec(name="w", events=events, steps=list(steps) or [Step(command=["true"])], seed=seed_)


@pytest.mark.feature("PA-117", "PA-119")
@given(RANGES, SIZES)
def test_pieces_cover_and_do_not_overlap(whole, size):
    pieces = list(cut(whole, size))
    assert covers(pieces, whole)
    assert all(piece.events == size for piece in pieces[:-1])
    assert 1 <= pieces[-1].events <= size
    assert pieces == list(cut(whole, size))


@pytest.mark.feature("PA-117")
@given(RANGES, SIZES, st.lists(st.integers(1, 20), min_size=1, max_size=30))
def test_cutting_a_few_at_a_time_gives_the_same(whole, size, limits):
    pieces, done, n = [], 0, 0
    while done < whole.events:
        part = list(cut(whole, size, done=done, limit=limits[n % len(limits)]))
        assert 1 <= len(part) <= limits[n % len(limits)]
        pieces += part
        done += sum(piece.events for piece in part)
        n += 1
    assert pieces == list(cut(whole, size))


@pytest.mark.feature("PA-117")
def test_the_ends():
    whole = Range(1, 10)
    assert list(cut(whole, 3)) == [(1, 3), (4, 3), (7, 3), (10, 1)]
    assert list(cut(whole, 100)) == [whole]
    assert list(cut(whole, 3, done=10)) == []
    assert list(cut(whole, 3, limit=0)) == []
    assert next(cut(Range(1, 10**15), 1)) == (1, 1)


@pytest.mark.feature("PA-117")
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"events_per_job": 0}, "events_per_job: got 0"),
        ({"events_per_job": 1, "done": -1}, "done: got -1, expected 0 to 10"),
        ({"events_per_job": 1, "done": 11}, "done: got 11, expected 0 to 10"),
    ],
)
def test_nonsense_is_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        list(cut(Range(1, 10), **arguments))


@pytest.mark.feature("PA-102")
def test_filters_and_multipliers_decide_how_much_is_generated():
    half = Step(name="a", command=["x"], filter_efficiency=0.5)
    twice = Step(name="b", command=["x"], event_multiplier=2.0)
    assert generated_events(spec_of()) == 1000
    assert generated_events(spec_of(half)) == 2000
    assert generated_events(spec_of(half, twice)) == 1000
    assert generated_events(spec_of(Step(command=["x"], filter_efficiency=0.3))) == 3334
    assert generated_events(spec_of(twice, events=1)) == 1


@pytest.mark.feature("PA-102")
@given(st.integers(1, 10**9), st.floats(1e-6, 1.0), st.floats(1e-3, 1e3))
def test_enough_is_generated_and_not_one_more(events, efficiency, multiplier):
    step = Step(command=["x"], filter_efficiency=efficiency, event_multiplier=multiplier)
    made = generated_events(spec_of(step, events=events))
    factor = efficiency * multiplier
    assert made >= 1
    assert made * factor >= events * (1 - 1e-6) - factor
    assert made == 1 or (made - 1) * factor < events * (1 + 1e-6)


@given(st.integers(0, 10**9), st.integers(1, 10**12))
def test_a_seed_is_legal_and_always_the_same(base, first):
    found = seed(spec_of(seed_=base), first)
    assert 1 <= found <= MAX_SEED
    assert found == seed(spec_of(seed_=base), first)


def test_neighbours_have_other_seeds():
    spec = spec_of()
    assert len({seed(spec, 1 + 1000 * n) for n in range(10_000)}) == 10_000

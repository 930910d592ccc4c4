"""The breaker opens on the place's own failures, doubles its time, and closes after two good probes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.breaker import (
    MARKS,
    Breaker,
    BreakerState,
    Judged,
    Mark,
    Rules,
    allowance,
    answered,
    judged,
    state_of,
    telling,
    unanswered,
)
from domain.rules import Blame

RULES = Rules()
CLOSED, OPEN, HALF = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def ran(marks: str, made: float = 0.0) -> list[Judged]:
    return [Judged(Mark(mark), made) for mark in marks]


def opened(now: float = 100.0) -> Breaker:
    return judged(Breaker(), ran("-" * 10), RULES, now)


@pytest.mark.feature("PA-214")
@pytest.mark.parametrize(
    ("marks", "state"),
    [
        ("-" * 9, CLOSED),
        ("-" * 10, OPEN),
        ("-" * 9 + "+" * 11, CLOSED),
        ("-" * 9 + "+" * 10 + "-", OPEN),
        ("-" * 9 + "+" * 12 + "-", CLOSED),
        ("." * 500, CLOSED),
        ("-." * 9, CLOSED),
        ("-." * 10, OPEN),
    ],
)
def test_half_of_the_last_twenty_open_it(marks: str, state: BreakerState) -> None:
    assert state_of(judged(Breaker(), ran(marks), RULES, 100.0), 100.0) is state
    one_by_one = Breaker()
    for mark in marks:
        one_by_one = judged(one_by_one, ran(mark), RULES, 100.0)
    assert state_of(one_by_one, 100.0) is state


@pytest.mark.feature("PA-214")
def test_our_own_faults_have_no_mark() -> None:
    assert MARKS[None] is Mark.GOOD
    assert MARKS[Blame.SITE] is Mark.BAD
    assert MARKS[Blame.PAYLOAD] is Mark.PAYLOAD
    assert Blame.AGENT not in MARKS
    assert Blame.CREDENTIAL not in MARKS


@pytest.mark.feature("PA-214")
def test_it_stays_open_ten_minutes_doubling_to_two_hours() -> None:
    breaker, now, times = opened(0.0), 0.0, []
    for _ in range(6):
        assert breaker.until is not None
        times.append(breaker.until - now)
        now = breaker.until
        assert allowance(breaker, RULES, now - 1, 0) == 0
        assert allowance(breaker, RULES, now, 0) == 2
        breaker = judged(breaker, ran("-", now), RULES, now)
    assert times == [600, 1200, 2400, 4800, 7200, 7200]
    assert "probe" in breaker.evidence


@pytest.mark.feature("PA-214")
def test_two_good_probes_close_it_and_what_ran_before_says_nothing() -> None:
    breaker = opened(100.0)
    assert breaker.evidence == "10 of the last 10 attempts failed by the fault of the place"
    during = judged(breaker, ran("-+-+", 50.0), RULES, 200.0)
    assert during == breaker
    late = judged(breaker, ran("+++---", 650.0), RULES, 800.0)
    assert late == breaker, "made while it was open: no probes"
    once = judged(breaker, ran("+", 701.0), RULES, 900.0)
    assert state_of(once, 900.0) is HALF
    assert allowance(once, RULES, 900.0, 1) == 0
    assert allowance(once, RULES, 900.0, 0) == 1
    assert judged(once, ran(".", 702.0), RULES, 901.0) == Breaker(), "a payload's own failure is no fault of the place"


@pytest.mark.feature("PA-214")
def test_five_submissions_without_an_answer_open_it_and_two_accepted_jobs_close_it() -> None:
    breaker = Breaker()
    for n in range(5):
        assert state_of(breaker, 10.0) is CLOSED
        breaker = unanswered(breaker, RULES, 10.0, f"no route {n}")
    assert state_of(breaker, 10.0) is OPEN
    assert breaker.evidence == "5 submissions in a row without an answer: no route 4"
    still = answered(breaker, 3, RULES, 20.0)
    assert state_of(still, 20.0) is OPEN
    again = unanswered(breaker, RULES, 700.0, "no route")
    assert again.until == 700.0 + 1200
    assert answered(again, 2, RULES, again.until) == Breaker()
    few = unanswered(Breaker(errors=4), RULES, 0.0, "x")
    assert state_of(few, 0.0) is OPEN
    assert answered(Breaker(errors=4), 1, RULES, 0.0).errors == 0


@pytest.mark.feature("PA-213", "PA-214")
def test_one_outage_enters_the_record_once() -> None:
    attempts = ran("-" * 500 + "+" * 3)
    counted = telling(Breaker(), attempts, RULES, 100.0)
    assert [each.mark for each in counted].count(Mark.BAD) == 10
    assert [each.mark for each in counted].count(Mark.GOOD) == 3
    assert telling(opened(), ran("-" * 20), RULES, 200.0) == []


@pytest.mark.feature("PA-214")
@given(st.lists(st.tuples(st.sampled_from("+-."), st.floats(0, 5000), st.floats(0, 900)), max_size=60))
def test_it_never_forgets_its_bounds(steps: list[tuple[str, float, float]]) -> None:
    breaker, now = Breaker(), 0.0
    for mark, made, passes in steps:
        now += passes
        before = state_of(breaker, now)
        breaker = judged(breaker, ran(mark, made), RULES, now)
        assert len(breaker.recent) <= RULES.window
        assert breaker.good < RULES.probes
        if breaker.until is not None:
            assert breaker.until <= now + RULES.cap_s
            assert breaker.opens >= 1
        if mark != "-":
            assert state_of(breaker, now) in (before, CLOSED), "only the place's own fault opens it"

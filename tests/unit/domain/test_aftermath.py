"""What the next attempt of a failed job gets: more memory or time up to the caps, another node, another site."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import exit_codes as x
from domain.aftermath import Decision, Sight, judge
from domain.escalation import MoreRules, Need, more, need
from domain.job import JobType
from domain.retry import Again, GiveUp, Pause, Tried
from domain.rules import Action, classify
from domain.spec import Resources, Retry

RULES = MoreRules(factor=1.5, memory_cap_mb=5000, wall_cap_s=10_000)
ASKED = Need(2000, 3600)


def decide(*codes: int, had: Need = ASKED, others: tuple[str, ...] = ()) -> Decision:
    tried = [Tried(code, classify(code), "a", "n1") for code in codes]
    return judge(Sight(JobType.PROCESSING, tried, Retry(processing=9), had, others), 0.5, RULES)


@pytest.mark.feature("PA-408")
def test_out_of_memory_gets_half_as_much_again_up_to_the_cap_and_then_a_person() -> None:
    had, given_ = ASKED, []
    while isinstance((found := decide(x.MEMORY, had=had)).verdict, Again):
        assert found.need is not None
        had = found.need
        given_.append(had.memory_mb)
    assert given_ == [3000, 4500, 5000]
    assert had.wall_s == ASKED.wall_s
    assert isinstance(found.verdict, Pause)
    assert "it has 5000 MB, the most there is" in found.verdict.reason


@pytest.mark.feature("PA-408")
def test_out_of_time_gets_more_time_alone() -> None:
    assert decide(x.WALL_TIME).need == Need(2000, 5400)
    assert "next with 5400 s" in decide(x.WALL_TIME).verdict.reason
    assert isinstance(decide(x.WALL_TIME, had=Need(2000, 10_000)).verdict, Pause)


@pytest.mark.feature("PA-402", "PA-408")
def test_more_is_no_way_around_the_allowance() -> None:
    assert isinstance(decide(*[x.MEMORY] * 9).verdict, GiveUp)


@pytest.mark.feature("PA-408")
@given(st.integers(1, 10**6), st.sampled_from([Action.MORE_MEMORY, Action.MORE_TIME]))
def test_more_is_more_and_never_above_the_cap(amount: int, action: Action) -> None:
    before = Need(amount, amount)
    after = more(action, before, RULES)
    if after is not None:
        assert after != before
        assert before.memory_mb <= after.memory_mb <= max(RULES.memory_cap_mb, before.memory_mb)
        assert before.wall_s <= after.wall_s <= max(RULES.wall_cap_s, before.wall_s)


def test_a_job_never_gets_less_than_its_workflow_says() -> None:
    asked = Resources(memory_mb=2000, wall_s=3600)
    assert need(asked) == ASKED
    assert need(asked, 1000, 7200) == Need(2000, 7200)


@pytest.mark.feature("PA-409")
def test_the_next_attempt_keeps_away_from_the_node_and_where_another_may_run_it_from_the_site() -> None:
    found = decide(x.STAGE_OUT, others=("b",))
    assert (found.site, found.node) == ("a", "n1")
    alone = decide(x.STAGE_OUT)
    assert (alone.site, alone.node) == ("", "n1")


@pytest.mark.feature("PA-409")
@pytest.mark.parametrize("code", [1, x.STORAGE_FULL, x.SPEC_INVALID])
def test_what_no_node_is_to_blame_for_may_run_there_again(code: int) -> None:
    assert decide(code, others=("b",))[1:] == ("", "", None)


@pytest.mark.feature("PA-401")
def test_a_job_that_was_never_submitted_goes_at_once() -> None:
    verdict = judge(Sight(JobType.MERGE, [], Retry(), ASKED), 1.0, RULES).verdict
    assert isinstance(verdict, Again)
    assert verdict.delay_s == 0.0

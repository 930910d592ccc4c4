"""What follows a failed attempt: allowances per blame, our own faults free, jitter within its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import exit_codes as x
from domain.exit_codes import RULES, UNKNOWN, Blame, classify
from domain.job import JobType
from domain.retry import Again, GiveUp, decide
from domain.spec import Retry

POLICY = Retry(processing=3, merge=4, site=5, infrastructure=6, base_s=10, cap_s=100)
CODE = {Blame.PAYLOAD: 1, Blame.SITE: x.STAGE_OUT, Blame.INFRASTRUCTURE: x.ABSENT, Blame.AGENT: x.SPEC_INVALID}
CODES = st.integers(0, 100_000)
KINDS = st.sampled_from(list(JobType))


@pytest.mark.feature("PA-402", "PA-403")
@pytest.mark.parametrize(
    ("blame", "kind", "allowed"),
    [
        (Blame.PAYLOAD, JobType.PROCESSING, 3),
        (Blame.PAYLOAD, JobType.MERGE, 4),
        (Blame.SITE, JobType.PROCESSING, 5),
        (Blame.SITE, JobType.MERGE, 5),
        (Blame.INFRASTRUCTURE, JobType.PROCESSING, 6),
    ],
)
def test_each_blame_has_its_allowance(blame, kind, allowed):
    codes = [CODE[blame]] * allowed
    assert isinstance(decide(codes[:-1], kind, POLICY, 1.0), Again)
    end = decide(codes, kind, POLICY, 1.0)
    assert isinstance(end, GiveUp)
    assert f"attempt {allowed} of {allowed}" in end.reason


@pytest.mark.feature("PA-403")
def test_blames_do_not_share_an_allowance():
    mixed = [CODE[Blame.SITE]] * 4 + [CODE[Blame.INFRASTRUCTURE]] * 5 + [CODE[Blame.PAYLOAD]] * 2
    assert isinstance(decide(mixed, JobType.PROCESSING, POLICY, 0.5), Again)
    assert isinstance(decide([*mixed, CODE[Blame.PAYLOAD]], JobType.PROCESSING, POLICY, 0.5), GiveUp)


@pytest.mark.feature("PA-403")
@given(st.lists(CODES.filter(lambda code: classify(code).blame is not Blame.AGENT), max_size=20), KINDS)
def test_the_first_of_our_own_faults_is_free_and_mended_at_once(past, kind):
    verdict = decide([*past, CODE[Blame.AGENT]], kind, POLICY, 1.0)
    assert isinstance(verdict, Again)
    assert verdict.delay_s == 0.0


@pytest.mark.feature("PA-403")
def test_our_own_faults_use_no_allowance_of_others():
    codes = [CODE[Blame.AGENT]] * 100 + [1]
    verdict = decide(codes, JobType.PROCESSING, POLICY, 1.0)
    assert isinstance(verdict, Again)
    assert verdict.delay_s == 10


def test_a_command_is_never_repeated():
    assert isinstance(decide([x.CANCELLED], JobType.PROCESSING, POLICY, 1.0), GiveUp)


@pytest.mark.feature("PA-404")
@given(st.lists(CODES, min_size=1, max_size=30), KINDS, st.floats(0, 1))
def test_delays_stay_within_their_bounds(codes, kind, jitter):
    verdict = decide(codes, kind, POLICY, jitter)
    if isinstance(verdict, Again):
        assert 0 <= verdict.delay_s <= POLICY.cap_s
        longest = decide(codes, kind, POLICY, 1.0)
        assert isinstance(longest, Again)
        assert verdict.delay_s <= longest.delay_s
    assert verdict.reason
    assert verdict == decide(codes, kind, POLICY, jitter)


@pytest.mark.feature("PA-404")
def test_pauses_double_up_to_the_cap():
    roomy = Retry(infrastructure=100, base_s=10, cap_s=100)
    pauses = [decide([x.ABSENT] * n, JobType.PROCESSING, roomy, 1.0) for n in range(1, 7)]
    assert [pause.delay_s for pause in pauses if isinstance(pause, Again)] == [10, 20, 40, 80, 100, 100]
    many = decide([x.ABSENT] * 2000, JobType.PROCESSING, Retry(infrastructure=5000), 1.0)
    assert isinstance(many, Again)
    assert many.delay_s == 3600


@pytest.mark.feature("PA-403", "PA-404")
@pytest.mark.parametrize("kind", JobType)
def test_a_full_storage_is_waited_for_through_hours(kind):
    codes, waited = [x.STORAGE_FULL], 0.0
    while isinstance(verdict := decide(codes, kind, Retry(), 0.0), Again):
        assert 1800 <= verdict.delay_s <= 3600
        waited += verdict.delay_s
        codes.append(x.STORAGE_FULL)
    assert waited > 8 * 3600
    assert isinstance(decide([*codes[:-1], 1], kind, Retry(), 0.0), Again)


@pytest.mark.feature("PA-405")
@given(CODES)
def test_every_code_has_a_meaning(code):
    rule = classify(code)
    assert rule.name
    assert rule is UNKNOWN or rule.low <= code <= rule.high


@pytest.mark.feature("PA-405")
def test_no_rule_hides_another():
    for n, rule in enumerate(RULES):
        assert rule.low <= rule.high
        assert any(classify(code) is rule for code in range(rule.low, rule.high + 1)), f"rule {n} is never reached"

"""What follows a failed attempt: allowances per blame, our own faults free, jitter within its bounds, another site at once."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import exit_codes as x
from domain.backoff import CURVES, Failed
from domain.job import JobType
from domain.retry import ALLOWANCE, Again, GiveUp, Pause, Tried, Verdict
from domain.retry import decide as judge
from domain.rules import BUILT_IN, Action, Blame, Rule, classify
from domain.spec import BackOff, Cause, Retry

POLICY = Retry(processing=3, merge=4, site=5, infrastructure=6, base_s=10, cap_s=100)
CODE = {Blame.PAYLOAD: 1, Blame.SITE: x.STAGE_OUT, Blame.INFRASTRUCTURE: x.ABSENT, Blame.AGENT: x.SPEC_INVALID}
CODES = st.integers(0, 100_000)
KINDS = st.sampled_from(list(JobType))


def decide(codes: Sequence[int], kind: JobType, retry: Retry, jitter: float, others: Sequence[str] = ()) -> Verdict:
    return judge([Tried(code, classify(code), "a") for code in codes], kind, retry, jitter, others)


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
def test_the_defaults_are_those_of_the_list():
    found = Retry()
    assert (found.processing, found.merge, found.site, found.infrastructure) == (3, 4, 5, 20)


@pytest.mark.feature("PA-403")
def test_blames_do_not_share_an_allowance():
    mixed = [CODE[Blame.SITE]] * 4 + [CODE[Blame.INFRASTRUCTURE]] * 5 + [CODE[Blame.PAYLOAD]] * 2
    assert isinstance(decide(mixed, JobType.PROCESSING, POLICY, 0.5), Again)
    assert isinstance(decide([*mixed, CODE[Blame.PAYLOAD]], JobType.PROCESSING, POLICY, 0.5), GiveUp)


@pytest.mark.feature("PA-403")
def test_finer_blames_use_the_allowance_that_they_belong_to():
    mixed = [x.NODE_DISK_FULL, x.STAGE_OUT, x.NODE_DISK_FULL, x.STAGE_OUT]
    assert isinstance(decide(mixed, JobType.PROCESSING, POLICY, 0.5), Again)
    assert isinstance(decide([*mixed, x.NODE_DISK_FULL], JobType.PROCESSING, POLICY, 0.5), GiveUp)
    assert set(ALLOWANCE.values()) == {Blame.PAYLOAD, Blame.SITE, Blame.INFRASTRUCTURE}
    assert set(Blame) - set(ALLOWANCE) == {Blame.AGENT, Blame.NOBODY}


@pytest.mark.feature("PA-314", "PA-403")
@given(st.integers(1, 300), KINDS)
def test_what_is_nobodys_fault_uses_no_allowance(times, kind):
    verdict = decide([x.PENDING_TOO_LONG] * times, kind, POLICY, 1.0)
    assert isinstance(verdict, Again)
    assert isinstance(decide([*[x.PENDING_TOO_LONG] * times, 1, 1], kind, POLICY, 1.0), Again)


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


@pytest.mark.feature("PA-403")
def test_our_own_faults_without_end_are_given_up():
    assert isinstance(decide([x.SPEC_INVALID] * 49, JobType.PROCESSING, POLICY, 0.0), Again)
    assert isinstance(decide([x.SPEC_INVALID] * 50, JobType.PROCESSING, POLICY, 0.0), GiveUp)


@pytest.mark.feature("PA-406")
@pytest.mark.parametrize("code", [x.CANCELLED, x.HOOK_UNUSABLE, x.HELD_FOR_GOOD])
def test_what_never_mends_is_never_repeated(code):
    verdict = decide([code], JobType.PROCESSING, POLICY, 0.5)
    assert isinstance(verdict, GiveUp)
    assert "never repeated" in verdict.reason


@pytest.mark.feature("PA-401", "PA-404")
@given(st.lists(CODES, min_size=1, max_size=30), KINDS, st.floats(0, 1), st.sampled_from([(), ("b",), ("b", "c")]))
def test_exactly_one_thing_follows_and_delays_stay_within_their_bounds(codes, kind, jitter, others):
    verdict = decide(codes, kind, POLICY, jitter, others)
    if isinstance(verdict, Again):
        assert 0 <= verdict.delay_s <= POLICY.cap_s
        longest = decide(codes, kind, POLICY, 1.0, others)
        assert isinstance(longest, Again)
        assert verdict.delay_s <= longest.delay_s
        assert not (verdict.elsewhere and not others)
    assert verdict.reason
    assert verdict == decide(codes, kind, POLICY, jitter, others)


@pytest.mark.feature("PA-404")
def test_pauses_double_up_to_the_cap():
    roomy = Retry(infrastructure=100, base_s=10, cap_s=100)
    pauses = [decide([x.ABSENT] * n, JobType.PROCESSING, roomy, 1.0) for n in range(1, 7)]
    assert [pause.delay_s for pause in pauses if isinstance(pause, Again)] == [10, 20, 40, 80, 100, 100]
    many = decide([x.ABSENT] * 2000, JobType.PROCESSING, Retry(infrastructure=5000), 1.0)
    assert isinstance(many, Again)
    assert many.delay_s == 3600


@pytest.mark.feature("PA-404")
@pytest.mark.parametrize(
    ("curve", "waits"),
    [
        ("fixed", [10, 10, 10, 10]),
        ("linear", [10, 20, 30, 40]),
        ("squared", [10, 40, 90, 100]),
        ("exponential", [10, 20, 40, 80]),
    ],
)
def test_a_workflow_chooses_its_curve_for_a_blame_or_a_type(curve, waits):
    given = BackOff(curve=curve, base_s=10, cap_s=100)
    for key in ("infrastructure", "merge"):
        policy = Retry(base_s=1, cap_s=1, back_off={key: given})
        found = [decide([x.ABSENT] * n, JobType.MERGE, policy, 1.0) for n in range(1, 5)]
        assert [one.delay_s for one in found if isinstance(one, Again)] == waits
    both = Retry(back_off={"infrastructure": given, "merge": BackOff(base_s=1, cap_s=1)})
    first = decide([x.ABSENT], JobType.MERGE, both, 1.0)
    assert isinstance(first, Again)
    assert first.delay_s == 10, "the blame comes before the type"


@pytest.mark.feature("PA-404")
def test_a_back_off_may_be_to_wait_for_a_person():
    policy = Retry(back_off={"payload": BackOff(curve="pause")})
    assert isinstance(decide([1], JobType.PROCESSING, policy, 1.0), Pause)
    assert isinstance(decide([x.ABSENT], JobType.PROCESSING, policy, 1.0), Again)
    assert isinstance(decide([1, 1, 1], JobType.PROCESSING, policy, 1.0), GiveUp)


@pytest.mark.feature("PA-405")
def test_a_rule_may_ask_for_a_person():
    asked = Rule(name="ask", codes="1", action=Action.PAUSE)
    assert isinstance(judge([Tried(1, asked)], JobType.PROCESSING, POLICY, 1.0), Pause)


def test_the_keys_of_back_offs_are_the_blames_and_the_types():
    assert set(Cause.__args__) == {*ALLOWANCE, Blame.NOBODY, *JobType}


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


@pytest.mark.feature("PA-404", "PA-409")
@pytest.mark.parametrize("code", [x.STAGE_OUT, x.NODE_DISK_FULL, x.PENDING_TOO_LONG])
def test_what_a_site_failed_goes_at_once_to_another_where_it_has_not_failed_yet(code):
    first = decide([code], JobType.PROCESSING, POLICY, 1.0, ["b"])
    assert isinstance(first, Again)
    assert (first.delay_s, first.elsewhere) == (0.0, True)
    tried = [Tried(code, classify(code), site) for site in ("a", "b")]
    second = judge(tried, JobType.PROCESSING, POLICY, 1.0, ["a"])
    assert isinstance(second, Again)
    assert (second.delay_s, second.elsewhere) == (20.0, False)
    third = judge(tried, JobType.PROCESSING, POLICY, 1.0, ["a", "c"])
    assert isinstance(third, Again)
    assert third.elsewhere


@pytest.mark.feature("PA-409")
def test_a_payload_that_fails_here_is_not_sent_elsewhere_and_a_sole_holder_waits():
    payload, sole = (
        decide([code], JobType.PROCESSING, POLICY, 1.0, others) for code, others in ((1, ["b"]), (x.STAGE_OUT, []))
    )
    for verdict in (payload, sole):
        assert isinstance(verdict, Again)
        assert (verdict.delay_s, verdict.elsewhere) == (10.0, False)


def refused(*targets: str) -> list[Tried]:
    (rule,) = (rule for rule in BUILT_IN if rule.action is Action.ELSEWHERE)
    return [Tried(x.SUBMIT_REFUSED, rule, "a", text="cores 9, at most 8", target=target) for target in targets]


@pytest.mark.feature("PA-310")
@pytest.mark.parametrize(
    ("targets", "others", "delay_s"),
    [
        (["small"], ["large", "huge"], 0.0),
        (["small", "large"], ["small", "huge"], 0.0),
        (["small", "large", "small"], ["large", "huge"], 10.0),
        (["small", "large"], ["small"], None),
        (["small", "large", "small"], ["large"], 10.0),
        (["small"] * 5, ["closed"], 80.0),
        (["small"] * 6, ["closed"], None),
        (["small"] * 9, [], None),
        (["small"], [], None),
    ],
    ids=[
        "at once",
        "the third",
        "again at the first",
        "none left",
        "after a retry each is asked",
        "waited for",
        "never opened",
        "ninth",
        "alone",
    ],
)
def test_what_a_target_refuses_goes_to_another_or_to_a_person_and_is_never_given_up(targets, others, delay_s):
    verdict = judge(refused(*targets), JobType.PROCESSING, POLICY, 1.0, targets=others)
    if delay_s is None:
        assert isinstance(verdict, Pause)
        assert f"{targets[-1]} says: cores 9, at most 8; no other target has taken it" in verdict.reason
    else:
        assert isinstance(verdict, Again)
        assert (verdict.delay_s, verdict.elsewhere) == (delay_s, True)


@pytest.mark.feature("PA-310", "PA-403")
def test_a_refusal_uses_no_allowance():
    failed = [Tried(x.STAGE_OUT, classify(x.STAGE_OUT), "a")] * 4
    assert isinstance(judge([*refused(*["small"] * 9), *failed], JobType.PROCESSING, POLICY, 1.0), Again)


@pytest.mark.feature("PA-310")
def test_the_reason_of_a_refusal_is_kept_within_what_a_job_can_hold():
    (long,) = (one._replace(text="x" * 500) for one in refused("small"))
    verdict = judge([long], JobType.PROCESSING, POLICY, 1.0)
    assert len(verdict.reason) <= 500
    assert verdict.reason.endswith("let it ask for less")


@pytest.mark.feature("PA-310", "PA-401", "PA-403")
def test_what_is_refused_for_good_is_tried_again_and_then_waits_for_a_person_who_reads_why():
    said = Tried(x.SUBMIT_REFUSED, classify(x.SUBMIT_REFUSED), "a", text="Invalid qos specification", target="slurm")
    first = judge([said], JobType.MERGE, POLICY, 1.0)
    assert isinstance(first, Again)
    assert "slurm says: Invalid qos specification" in first.reason
    for times in (5, 6):
        last = judge([said] * times, JobType.MERGE, POLICY, 1.0)
        assert isinstance(last, Pause)
        assert last.reason.endswith("slurm says: Invalid qos specification; mend what it names, then `retry`")
    site = Tried(x.STAGE_OUT, classify(x.STAGE_OUT), "a")
    assert isinstance(judge([said] * 5 + [site] * 4, JobType.MERGE, POLICY, 1.0), Again), "refusals used none of it"
    assert isinstance(judge([site] * 4 + [said], JobType.MERGE, POLICY, 1.0), Again)
    assert isinstance(judge([said] * 5 + [site] * 5, JobType.MERGE, POLICY, 1.0), GiveUp)


def broken(_: Failed) -> float:
    raise OSError("no such table")


@pytest.mark.feature("PA-404")
@pytest.mark.parametrize(
    "curve", [broken, lambda _: float("nan"), lambda _: -1.0, lambda _: float("inf"), lambda _: "soon", None]
)
def test_a_curve_that_cannot_be_used_gives_way_to_the_usual_one(curve):
    """One that raises, gives no time, or is not there any more; no job is lost or hangs by it."""
    retry = Retry(infrastructure=9, back_off={"infrastructure": BackOff(curve="theirs", base_s=10, cap_s=100)})
    tried = [Tried(x.ABSENT, classify(x.ABSENT), "a")] * 3
    curves = dict(CURVES) if curve is None else {**CURVES, "theirs": curve}
    verdict = judge(tried, JobType.PROCESSING, retry, 1.0, curves=curves)
    assert isinstance(verdict, Again)
    assert verdict.delay_s == 40.0
    assert "back-off theirs cannot be used" in verdict.reason


@pytest.mark.feature("PA-404")
def test_a_curve_sees_what_failed_and_stays_below_the_cap():
    seen = []
    retry = Retry(processing=9, back_off={"merge": BackOff(curve="theirs", base_s=10, cap_s=100)})
    tried = [Tried(7, classify(7), "a", "n1"), Tried(8, classify(8), "b", "n2")]
    curves = {"theirs": lambda failed: seen.append(failed) or 1e9}
    verdict = judge(tried, JobType.MERGE, retry, 0.5, curves=curves)
    assert isinstance(verdict, Again)
    assert verdict.delay_s == 50.0
    assert seen == [Failed(2, "payload", "merge", "payload failed", 8, "b", "n2")]

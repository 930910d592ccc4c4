"""What operators said and what the agent found out decide which jobs a target gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.controls import Control, Kind, Mode, Scope, in_force
from domain.job import JobType
from domain.matching import Candidate, Place, wait_reason
from domain.placing import UNBLOCKS, Held, Limits, Sight, judge
from domain.pressure import Backlog, presses, words
from domain.score import Standing, cut_off, score
from domain.spread import Spread
from domain.thresholds import Load, desired, threshold
from storage.sites import STOPPED

P, M = JobType.PROCESSING, JobType.MERGE
SIGHT = Sight("a-batch", "a", Limits({P: 100, M: 10}, {P: None, M: None}))


def said(scope: Scope, subject: str, kind: Kind = Kind.HOLD, value: str = "") -> Control:
    return Control(scope, subject, kind, value, "flood", "ann", 0.0, None)


def mode(value: Mode) -> list[Control]:
    return [said(Scope.SITE, "a", Kind.MODE, value)]


def codes(place: Place) -> dict[JobType, str]:
    return {kind: text.partition(": ")[0] for kind, text in place.closed.items()}


@pytest.mark.feature("PA-203", "PA-211", "PA-218")
@pytest.mark.parametrize(
    ("controls", "closed"),
    [
        ([], {}),
        (mode(Mode.DRAIN), {P: "site-drained", M: "site-drained"}),
        (mode(Mode.DRAIN_MERGE), {M: "site-drained"}),
        (mode(Mode.DRAIN_PROCESSING), {P: "site-drained"}),
        (mode(Mode.DOWN), {P: "site-down", M: "site-down"}),
        (mode(Mode.TEST), {}),
        ([said(Scope.SITE, "a")], {P: "held", M: "held"}),
        ([said(Scope.TARGET, "a-batch")], {P: "held", M: "held"}),
        ([said(Scope.AGENT, "agent")], {P: "held", M: "held"}),
        ([said(Scope.SITE, "b"), said(Scope.TARGET, "b-batch"), said(Scope.WORKFLOW, "a")], {}),
    ],
)
def test_a_word_of_an_operator_closes_a_place(controls: list[Control], closed: dict[JobType, str]) -> None:
    place = judge(SIGHT, controls)
    assert codes(place) == closed
    assert all("ann: flood" in text for text in place.closed.values())
    assert set(closed.values()) <= set(UNBLOCKS)
    assert place.picky == (controls == mode(Mode.TEST))


@pytest.mark.feature("PA-209", "PA-213", "PA-214", "PA-218")
@pytest.mark.parametrize(
    ("found", "code", "with_trust"),
    [
        ({"off": "a is disabled"}, "site-off", "site-off"),
        ({"open_s": 60.0, "evidence": "10 of 20"}, "breaker-open", ""),
        ({"poor": "3 of 30"}, "poor-record", ""),
        ({"behind": "700 items wait"}, "back-pressure", "back-pressure"),
        ({"open_s": 60.0, "behind": "700 items wait"}, "breaker-open", "back-pressure"),
    ],
)
def test_what_was_found_out_closes_it_and_trust_opens_it(found: dict, code: str, with_trust: str) -> None:
    sight = SIGHT._replace(**found)
    assert codes(judge(sight, [])) == {P: code, M: code}
    assert codes(judge(sight, [said(Scope.SITE, "a", Kind.TRUST)])) == (
        {P: with_trust, M: with_trust} if with_trust else {}
    )
    assert codes(judge(sight, [said(Scope.SITE, "a")])) == {P: "held", M: "held"}, "a person's word comes first"


@pytest.mark.feature("PA-206", "PA-207")
def test_limits_count_jobs_waiting_jobs_cores_and_memory() -> None:
    limits = Limits({P: 100, M: 10}, {P: 5, M: None}, cores=64, memory_mb=100_000)
    sight = SIGHT._replace(limits=limits, held={P: Held(90, 3), M: Held(12, 12)}, cores=60, memory_mb=40_000, probes=2)
    place = judge(sight, [])
    assert place.free == {P: 2, M: -2}
    assert (place.cores, place.memory_mb, place.jobs) == (4, 60_000, 2)


@pytest.mark.feature("PA-203")
def test_what_was_said_for_a_time_ends() -> None:
    timed = said(Scope.SITE, "a")._replace(until=50.0)
    assert in_force([timed], 49.0) == [timed]
    assert in_force([timed], 50.0) == []


@pytest.mark.feature("PA-209")
def test_release_stops_above_the_limit_and_goes_on_at_half_of_it() -> None:
    def stops(items: int, oldest_s: float, *, before: bool) -> bool:
        return presses(Backlog("report", items, oldest_s), items=600, age_s=60.0, before=before)

    assert not stops(600, 60.0, before=False)
    assert stops(601, 0.0, before=False)
    assert stops(1, 61.0, before=False)
    assert stops(301, 0.0, before=True)
    assert stops(1, 31.0, before=True)
    assert not stops(300, 30.0, before=True)
    assert not stops(0, 1e9, before=True)
    assert words(Backlog("report", 700, 12.4, "t")) == "700 items of t wait for report, the first for 12 s"


@pytest.mark.feature("PA-208")
def test_a_threshold_grows_while_the_target_is_hungry_and_falls_back() -> None:
    assert desired(100, 1, 500) == 20
    assert desired(3, 1, 500) == 1
    assert desired(10_000, 1, 50) == 50
    hungry = Load(pending=5, running=95)
    assert threshold(100, 100, hungry, waiting=20, hours=1.0) == 120
    assert threshold(300, 100, hungry, waiting=20, hours=1.0) == 300
    assert threshold(300, 100, Load(pending=25, running=95), waiting=20, hours=1.0) == pytest.approx(270)
    assert threshold(300, 100, Load(pending=0, running=75, ended=25), waiting=20, hours=2.0) == pytest.approx(243)
    assert threshold(480, 100, Load(running=500), waiting=20, hours=0.0) == 480, "five times is the most"
    assert threshold(101, 100, Load(), waiting=20, hours=9.0) == 100


@pytest.mark.feature("PA-215")
def test_a_better_place_has_the_higher_score() -> None:
    usual = Standing(90, 10, 9, 1, 600.0)
    better = [
        usual._replace(good=99, bad=1),
        usual._replace(late_good=10, late_bad=0),
        usual._replace(wait_s=60.0),
        usual._replace(cost=0.5),
    ]
    assert all(score(one) > score(usual) for one in better)
    assert score(usual._replace(cost=2.0)) == pytest.approx(score(usual) / 2)
    assert score(Standing()) == pytest.approx(0.25)
    assert score(Standing(0, 10, 0, 10)) > 0


@pytest.mark.feature("PA-213")
def test_few_attempts_cut_nobody_off() -> None:
    assert not cut_off(0, 19, below=0.5, attempts=20)
    assert cut_off(9, 11, below=0.5, attempts=20)
    assert not cut_off(10, 10, below=0.5, attempts=20)


CONTROLS = [
    said(Scope.SITE, "a"), said(Scope.TARGET, "b-batch"), said(Scope.AGENT, "agent"),
    *(word for each in Mode if each is not Mode.ENABLED for word in mode(each)),
]  # fmt: skip
SIGHTS = st.builds(
    lambda site, known: SIGHT._replace(target=f"{site}-batch", site=site, **known),
    st.sampled_from("abc"),
    st.fixed_dictionaries(
        {
            "off": st.sampled_from(["", "a is disabled"]),
            "open_s": st.sampled_from([0.0, 60.0]),
            "probes": st.sampled_from([None, None, 0, 2]),
            "poor": st.sampled_from(["", "3 of 30"]),
            "behind": st.sampled_from(["", "700 items wait"]),
            "stopped": st.sampled_from(["", *(f"{code}: x" for code in STOPPED.values())]),
            "releases": st.sampled_from([None, frozenset(), frozenset({"r7"})]),
            "groups": st.sampled_from([frozenset(), frozenset({"higgs"})]),
            "fillers": st.booleans(),
            "leaving": st.booleans(),
            "gpus": st.sampled_from([0, 2]),
            "architectures": st.sampled_from([frozenset(), frozenset({"aarch64"})]),
            "held": st.sampled_from([{}, {P: Held(500, 500)}]),
            "cores": st.sampled_from([0, 5000]),
            "limits": st.sampled_from([SIGHT.limits, SIGHT.limits._replace(cores=16, memory_mb=1000)]),
        }
    ),
)
JOBS = st.builds(
    Candidate,
    id=st.just(1),
    type=st.sampled_from(JobType),
    sites=st.sampled_from([frozenset(), frozenset("ab"), frozenset("x")]),
    pinned=st.sampled_from([None, None, "a", "x"]),
    cores=st.sampled_from([1, 8, 100]),
    memory_mb=st.sampled_from([0, 2000]),
    avoid=st.sampled_from(["", "a", "b-batch"]),
    releases=st.sampled_from([frozenset(), frozenset({"r7", "r8"})]),
    group=st.sampled_from(["", "top"]),
    spread=st.sampled_from([None, Spread(1, frozenset("c"), 1)]),
    denied=st.sampled_from([frozenset(), frozenset("b")]),
    gpus=st.sampled_from([0, 1]),
    architecture=st.sampled_from(["", "aarch64"]),
)


@pytest.mark.feature("PA-218")
@given(JOBS, st.lists(SIGHTS, max_size=4), st.lists(st.sampled_from(CONTROLS), max_size=2))
def test_every_job_that_is_not_released_has_a_code_that_says_what_ends_it(
    job: Candidate, sights: list[Sight], controls: list[Control]
) -> None:
    places = [judge(sight, controls) for sight in sights]
    code, mark, text = wait_reason(job, places).partition(": ")
    assert code in UNBLOCKS
    assert mark
    assert text.strip()
    assert (code == "next-sweep") == any(place.room(job) for place in places)

"""Jobs go in queue order to allowed places with room, and a job that waits is told why."""

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.job import JobType
from domain.matching import Candidate, Choice, Place, match, may_run, room_for, wait_reason
from domain.spread import Spread, surplus

SITES = st.sampled_from("ABC")
KINDS = st.sampled_from(list(JobType))
MAYBE = st.none() | st.integers(-1, 12)
P, M = JobType.PROCESSING, JobType.MERGE


@st.composite
def queues(draw: st.DrawFn) -> list[Candidate]:
    parts = st.tuples(
        KINDS, st.frozensets(SITES), st.none() | SITES, st.sampled_from((1, 2, 8)), st.sampled_from((0, 1000, 3000))
    )
    return [Candidate(n + 1, *each) for n, each in enumerate(draw(st.lists(parts, max_size=30)))]


@st.composite
def places(draw: st.DrawFn) -> list[Place]:
    sites = draw(st.lists(SITES, max_size=5))
    room = st.dictionaries(KINDS, st.integers(-2, 10), max_size=2)
    shut = st.dictionaries(KINDS, st.just("held: by ann"), max_size=1)
    return [
        Place(f"{site}{n}", site, draw(room), draw(shut), draw(MAYBE), draw(MAYBE), draw(st.none() | st.just(9000)),
              draw(st.booleans()), draw(st.floats(0.1, 1.0)))
        for n, site in enumerate(sites)
    ]  # fmt: skip


def by_target(chosen: dict[Choice, list[int]]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for choice, ids in chosen.items():
        found[choice.target] += ids
    return {target: sorted(ids) for target, ids in found.items()}


@pytest.mark.feature("PA-204", "PA-206", "PA-207", "PA-215")
@given(queues(), places())
def test_laws(queue, free):
    by_id = {job.id: job for job in queue}
    chosen = match(queue, free)
    released = by_target(chosen)
    given_out = [job for ids in released.values() for job in ids]
    assert len(given_out) == len(set(given_out))
    left = []
    for place in free:
        rest = place
        for job in (by_id[identity] for identity in released.get(place.target, [])):
            assert may_run(job, place)
            assert job.type not in place.closed
            assert rest.room(job) >= 1, "more went there than fits"
            rest = rest.less(job)
        left.append(rest)
    passed_over = [job for job in queue if job.id not in given_out]
    assert not any(room_for(job, left) for job in passed_over)
    for choice, ids in chosen.items():
        assert choice.runner_up != choice.target
        known = {place.target: place for place in free}
        if choice.runner_up:
            assert all(known[choice.runner_up].room(by_id[identity]) for identity in ids)


@pytest.mark.feature("PA-206", "PA-215")
def test_the_emptiest_allowed_place_is_taken_and_the_better_one_more_often():
    free = [Place("a", "A", {P: 1}), Place("b", "B", {P: 3})]
    queue = [Candidate(n, P, frozenset(), None) for n in range(1, 6)]
    assert by_target(match(queue, free)) == {"b": [1, 2, 4], "a": [3]}
    assert match(queue[:1], free) == {Choice("b", "a"): [1]}
    pinned = [Candidate(1, P, frozenset(), "A")]
    assert match(pinned, free) == {Choice("a", ""): [1]}
    assert match([pinned[0]._replace(sites=frozenset("B"))], free) == {}, "it may not run where its input lies"
    even = [Place("a", "A", {P: 90}, score=0.2), Place("b", "B", {P: 90}, score=0.4)]
    many = [Candidate(n, P, frozenset(), None) for n in range(1, 61)]
    shares = {target: len(ids) for target, ids in by_target(match(many, even)).items()}
    assert shares["b"] > 2 * shares["a"]


@st.composite
def spread_queues(draw: st.DrawFn) -> list[Candidate]:
    """Jobs of three workflows of which some may be at few sites only, as the queue would hand them over."""
    flows = {
        flow: (draw(st.sampled_from(("", "higgs", "top"))), draw(st.sampled_from((2, 1))),
               Spread(flow, draw(st.frozensets(SITES, max_size=2)), draw(st.none() | st.integers(1, 3))))
        for flow in (1, 2, 3)
    }  # fmt: skip
    owned = [(job, draw(st.sampled_from((1, 2, 3)))) for job in draw(queues())]
    found = []
    for job, flow in owned:
        group, rank, spread = flows[flow]
        bound = {other.pinned for other, owner in owned if owner == flow and other.pinned is not None}
        spread = spread._replace(used=spread.used | bound)  # a merge's inputs lie there: its workflow is there
        found.append(job._replace(rank=rank, group=group, spread=spread))
    return sorted(found, key=lambda job: (-job.rank, job.id))


@st.composite
def meant_places(draw: st.DrawFn) -> list[Place]:
    groups = st.frozensets(st.sampled_from(("higgs", "top")), max_size=2)
    return [place._replace(groups=draw(groups), fillers=draw(st.booleans())) for place in draw(places())]


@pytest.mark.feature("PA-210", "PA-218")
@given(spread_queues(), meant_places())
def test_laws_of_the_spread(queue, free):
    by_id = {job.id: job for job in queue}
    released = by_target(match(queue, free))
    used = {job.spread.workflow: job.spread.used for job in queue}
    left = []
    for place in free:
        rest = place
        for job in (by_id[identity] for identity in released.get(place.target, [])):
            assert place.meant_for(job)
            if job.pinned is None:
                used[job.spread.workflow] |= {place.site}
            rest = rest.less(job)
        left.append(rest)
    for job in queue:
        most, before = job.spread.most, len(job.spread.used)
        assert most is None or len(used[job.spread.workflow]) <= max(most, before), "a site beyond the limit was taken"
    given_out = {identity for ids in released.values() for identity in ids}
    at = {flow: {place.site for place in free for each in released.get(place.target, []) if by_id[each].spread.workflow == flow}
          for flow in used}  # fmt: skip
    for job in queue:
        now = job._replace(spread=job.spread._replace(used=job.spread.used | at[job.spread.workflow]))
        assert job.id in given_out or not room_for(now, left), "a place stays free that it could have"
        if job.id not in given_out:
            reason = wait_reason(now, left)
            assert not reason.startswith("next-sweep"), reason


@pytest.mark.feature("PA-210")
def test_a_place_that_is_meant_for_a_group_takes_those_that_are_there_then_the_group_then_others():
    free = [Place("r", "R", {P: 3}, groups=frozenset({"higgs"}), fillers=True)]
    there = Spread(0, frozenset({"R"}), None)
    nowhere = Spread(0, frozenset(), None)
    filler = Candidate(1, P, frozenset(), None, spread=nowhere)
    meant = Candidate(2, P, frozenset(), None, group="higgs", spread=nowhere)
    present = Candidate(3, P, frozenset(), None, spread=there)
    queue = [filler, meant, present]
    for room, wanted in ((1, [3]), (2, [2, 3]), (3, [1, 2, 3])):
        assert by_target(match(queue, [free[0]._replace(free={P: room})])) == {"r": wanted}
    urgent = [filler._replace(rank=1), *queue[1:]]
    assert by_target(match(urgent, [free[0]._replace(free={P: 1})])) == {"r": [1]}, (
        "the workflow's priority stands above"
    )
    closed = [free[0]._replace(fillers=False)]
    assert by_target(match(queue, closed)) == {"r": [2]}
    assert wait_reason(present, closed) == "group: r only for higgs; its workflow is of no group"
    assert by_target(match([filler._replace(pinned="R")], closed)) == {"r": [1]}, "a merge goes where its inputs lie"


@pytest.mark.feature("PA-210", "PA-218")
def test_a_workflow_takes_no_further_site():
    free = [Place("a", "A", {P: 1}), Place("b", "B", {P: 9}), Place("c", "C", {P: 8})]
    queue = [Candidate(n, P, frozenset(), None, spread=Spread(7, frozenset({"A"}), 2)) for n in range(1, 20)]
    assert {target: len(ids) for target, ids in by_target(match(queue, free)).items()} == {"a": 1, "b": 9}
    assert room_for(queue[0], free) == 10
    full = Spread(7, frozenset({"A", "B"}), 2)
    left = [free[0]._replace(free={P: 0}), free[1]._replace(free={P: 0}), free[2]]
    assert wait_reason(queue[0]._replace(spread=full), left) == (
        "spread: its workflow is at 2 of at most 2 sites (A, B); c beyond that has room"
    )
    assert wait_reason(queue[0]._replace(spread=full), left[:2]).startswith("no-slot: ")


@pytest.mark.feature("PA-210")
@given(st.integers(1, 4), st.frozensets(SITES), st.dictionaries(SITES, st.integers(1, 9)))
def test_what_has_to_be_left_is_where_least_waits(most, fixed, loose):
    left = surplus(most, fixed, loose)
    kept = {*loose} - left - fixed
    assert not left & fixed
    assert len(fixed | kept) <= max(most, len(fixed))
    assert not left or len(fixed | kept) >= most
    assert all(loose[gone] <= loose[stays] for gone in left for stays in kept)


@pytest.mark.feature("PA-207")
def test_an_eight_core_job_uses_eight():
    place = [Place("a", "A", {P: 100}, cores=20, memory_mb=9000)]
    wide = [Candidate(n, P, frozenset(), None, cores=8, memory_mb=1000) for n in (1, 2, 3)]
    thin = [Candidate(n, P, frozenset(), None, cores=1, memory_mb=1000) for n in range(4, 20)]
    assert by_target(match([*wide, *thin], place)) == {"a": [1, 2, 4, 5, 6, 7]}, "2 x 8 + 4 x 1 cores"
    hungry = [Candidate(n, P, frozenset(), None, memory_mb=4000) for n in (1, 2, 3)]
    assert by_target(match(hungry, place)) == {"a": [1, 2]}
    assert wait_reason(hungry[0], [place[0]._replace(memory_mb=3000)]).startswith("quota: 1 cores and 4000 MB")


@pytest.mark.feature("PA-218")
@pytest.mark.parametrize(
    ("sites", "pinned", "free", "code"),
    [
        ("", "A", [Place("b", "B", {P: 1})], "no-data"),
        ("C", None, [Place("b", "B", {P: 1})], "no-site"),
        ("", None, [], "no-site"),
        ("B", None, [Place("b", "B", {P: 0})], "no-slot"),
        ("B", None, [Place("b", "B", {M: 3})], "no-slot"),
        ("B", None, [Place("b", "B", {P: 1})], "next-sweep"),
        ("B", None, [Place("b", "B", {P: 1}, {P: "breaker-open: 12 of 20"})], "breaker-open"),
        ("B", None, [Place("b", "B", {P: 1}, {M: "breaker-open: 12 of 20"})], "next-sweep"),
        ("B", None, [Place("b", "B", {P: 1}, {P: "held: x"}), Place("c", "B", {P: 0})], "no-slot"),
        ("", None, [Place("b", "B", {P: 1}, picky=True)], "site-test"),
        ("B", None, [Place("b", "B", {P: 1}, picky=True)], "next-sweep"),
        ("B", None, [Place("b", "B", {P: 1}, jobs=0)], "breaker-open"),
        ("B", None, [Place("b", "B", {P: 1}, cores=0)], "quota"),
    ],
)
def test_a_waiting_job_is_told_why(sites, pinned, free, code):
    reason = wait_reason(Candidate(1, P, frozenset(sites), pinned), free)
    assert reason.partition(":")[0] == code


@pytest.mark.feature("PA-218")
def test_every_closed_place_says_its_reason():
    shut = [Place("a", "A", {P: 1}, {P: "site-down: ann: flood"}), Place("b", "B", {P: 1}, {P: "held: bob"})]
    assert wait_reason(Candidate(1, P, frozenset(), None), shut) == "site-down: ann: flood; bob"
    assert wait_reason(Candidate(1, P, frozenset(), None), [*shut, shut[1]]).startswith("held: ")


@pytest.mark.feature("PA-218")
@given(queues(), places())
def test_a_job_waits_for_a_sweep_only_where_there_is_room(queue, free):
    for job in queue:
        sweeping = wait_reason(job, free).startswith("next-sweep")
        assert sweeping == any(place.room(job) for place in free)

"""Jobs go in queue order to allowed places with room, and a job that waits is told why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.job import JobType
from domain.matching import Candidate, Place, match, may_run, wait_reason

SITES = st.sampled_from("ABC")
KINDS = st.sampled_from(list(JobType))


@st.composite
def queues(draw: st.DrawFn) -> list[Candidate]:
    made = draw(st.lists(st.tuples(KINDS, st.frozensets(SITES), st.none() | SITES), max_size=30))
    return [Candidate(n + 1, *parts) for n, parts in enumerate(made)]


@st.composite
def places(draw: st.DrawFn) -> list[Place]:
    sites = draw(st.lists(SITES, max_size=5))
    room = st.dictionaries(KINDS, st.integers(-2, 10), max_size=2)
    return [Place(f"{site}{n}", site, draw(room)) for n, site in enumerate(sites)]


@pytest.mark.feature("PA-204", "PA-206")
@given(queues(), places())
def test_laws(queue, free):
    by_id = {job.id: job for job in queue}
    released = match(queue, free)
    given_out = [job for ids in released.values() for job in ids]
    assert len(given_out) == len(set(given_out))
    for place in free:
        mine = [by_id[job] for job in released.get(place.target, [])]
        assert all(may_run(job, place.site) for job in mine)
        for kind in JobType:
            assert sum(job.type is kind for job in mine) <= max(0, place.free.get(kind, 0))
    for job in queue:
        if job.id not in given_out:
            room = {p.target: p.free.get(job.type, 0) for p in free if may_run(job, p.site)}
            used = {t: sum(by_id[i].type is job.type and i < job.id for i in released.get(t, [])) for t in room}
            assert all(used[target] >= size for target, size in room.items()), "it was passed over"


@pytest.mark.feature("PA-206")
def test_the_emptiest_allowed_place_is_taken():
    free = [Place("a", "A", {JobType.PROCESSING: 1}), Place("b", "B", {JobType.PROCESSING: 3})]
    queue = [Candidate(n, JobType.PROCESSING, frozenset(), None) for n in range(1, 6)]
    assert match(queue, free) == {"b": [1, 2, 4], "a": [3]} or match(queue, free) == {"b": [1, 2, 3], "a": [4]}
    pinned = [Candidate(1, JobType.PROCESSING, frozenset("B"), "A")]
    assert match(pinned, free) == {"a": [1]}


@pytest.mark.feature("PA-218")
@pytest.mark.parametrize(
    ("sites", "pinned", "free", "code"),
    [
        ("", "A", [Place("b", "B", {JobType.PROCESSING: 1})], "site-down"),
        ("C", None, [Place("b", "B", {JobType.PROCESSING: 1})], "no-site"),
        ("", None, [], "no-site"),
        ("B", None, [Place("b", "B", {JobType.PROCESSING: 0})], "no-slot"),
        ("B", None, [Place("b", "B", {JobType.MERGE: 3})], "no-slot"),
        ("B", None, [Place("b", "B", {JobType.PROCESSING: 1})], "next-sweep"),
    ],
)
def test_a_waiting_job_is_told_why(sites, pinned, free, code):
    reason = wait_reason(Candidate(1, JobType.PROCESSING, frozenset(sites), pinned), free)
    assert reason.partition(":")[0] == code


@pytest.mark.feature("PA-218")
@given(queues(), places())
def test_a_job_waits_for_a_sweep_only_where_there_is_room(queue, free):
    for job in queue:
        sweeping = wait_reason(job, free).startswith("next-sweep")
        assert sweeping == any(may_run(job, place.site) and place.free.get(job.type, 0) > 0 for place in free)

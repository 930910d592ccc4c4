"""A job keeps away from the site that failed it, as long as another one takes its kind (PA-409)."""

import pytest

from domain.job import JobType
from domain.matching import Candidate, Place, match, shunning, wait_reason

KIND = JobType.PROCESSING


def place(site: str, free: int = 1, **changes: object) -> Place:
    return Place(f"t{site}", site, {KIND: free}, **changes)  # type: ignore[arg-type]


def targets(job: Candidate, *places: Place) -> list[str]:
    return [choice.target for choice in match([shunning(job, "a", places)], places)]


@pytest.mark.feature("PA-409")
@pytest.mark.parametrize(
    ("job", "places", "goes"),
    [
        (Candidate(1, KIND, frozenset(), None), [place("a", 9), place("b")], ["tb"]),
        (Candidate(1, KIND, frozenset(), None), [place("a", 9), place("b", 0)], []),
        (Candidate(1, KIND, frozenset(), None), [place("a")], ["ta"]),
        (Candidate(1, KIND, frozenset(), None), [place("a"), place("b", closed={KIND: "drain: closed"})], ["ta"]),
        (Candidate(1, KIND, frozenset({"a"}), None), [place("a"), place("b")], ["ta"]),
        (Candidate(1, KIND, frozenset(), "a"), [place("a"), place("b")], ["ta"]),
    ],
    ids=["elsewhere", "waits for another", "only one", "the other is closed", "the other is not wanted", "sole holder"],
)
def test_where_a_job_goes_that_site_a_failed(job: Candidate, places: list[Place], goes: list[str]) -> None:
    assert targets(job, *places) == goes


@pytest.mark.feature("PA-310")
def test_a_job_that_a_target_refused_goes_to_another_one_of_the_same_site() -> None:
    job, small, large = Candidate(1, KIND, frozenset(), None), place("a", 9), place("a")._replace(target="large")
    shy = shunning(job, "ta", [small, large])
    assert [choice.target for choice in match([shy], [small, large])] == ["large"]
    assert shunning(job, "ta", [small]) == job


@pytest.mark.feature("PA-218", "PA-409")
def test_a_job_says_what_it_keeps_away_from() -> None:
    places = [place("a", 9), place("b", 0)]
    shy = shunning(Candidate(1, KIND, frozenset(), None), "a", places)
    expected = "no-slot: tb full for processing jobs; it keeps away from a after a failure there"
    assert wait_reason(shy, places) == expected

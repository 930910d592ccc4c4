"""A job keeps away from the site that failed it, as long as another one takes its kind (PA-409)."""

import pytest

from domain.job import JobType
from domain.matching import Candidate, Place, match, shunning

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

"""The verdict says in one line what came of everything, and names what is not delivered."""

import pytest

from services.simulation.verdict import Verdict


@pytest.mark.parametrize(
    ("verdict", "ended", "words"),
    [
        (Verdict(requested=2000, delivered=2000), True, "2,000 of 2,000 events delivered"),
        (
            Verdict(requested=40, delivered=10, lost={"r": 20, "s": 10}),
            True,
            "10 of 40 events delivered; 30 lost (20 of r, 10 of s)",
        ),
        (
            Verdict(requested=40, delivered=10, unfinished=30, waiting=["merge job 7 of r, 30 events (no room)"]),
            False,
            "10 of 40 events delivered; 30 unfinished; waiting for a person: merge job 7 of r, 30 events (no room)",
        ),
        (
            Verdict(requested=1, delivered=1, waiting=[f"transfer {number}" for number in range(7)]),
            False,
            "1 of 1 events delivered; waiting for a person: "
            "transfer 0, transfer 1, transfer 2, transfer 3, transfer 4 and 2 more",
        ),
    ],
    ids=["all", "lost", "a merge waits", "many wait"],
)
def test_one_line(verdict: Verdict, ended: bool, words: str) -> None:
    assert verdict.words == words
    assert verdict.ended is ended

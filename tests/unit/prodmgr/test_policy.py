"""What follows for a request: rulings, cuts, settlements."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.policy import (
    FREE,
    LOST,
    MERGED,
    REQUEST_TABLE,
    Holding,
    PieceState,
    PolicyInputs,
    PolicySettings,
    RequestState,
    RequestVerb,
    Return,
    Verdict,
    cut,
    decide,
    hand_out,
    request_after,
    settle,
    take_back,
)
from domain.ranges import Range, covers, first_overlap, intersect, subtract, total, union
from domain.transition import IllegalMove

WHOLE = Range(1, 1000)


def inputs(**changes: object) -> PolicyInputs:
    plain = {"held": 1000, "lost": 0, "untried": 0, "requested": 10_000, "lost_before": 0, "losses": 0}
    settings = PolicySettings(**{name: changes.pop(name) for name in list(changes) if name not in plain})
    return PolicyInputs(**{**plain, **changes}, settings=settings)


@pytest.mark.feature("PM-03")
@pytest.mark.parametrize(
    ("given_", "verdict", "why"),
    [
        ({}, Verdict.COMPLETE, "all 1000 events are there"),
        ({"lost": 9}, Verdict.COMPLETE, "9 of 1000 events missing, below 0.01: counted as lost"),
        ({"untried": 9}, Verdict.COMPLETE, "9 of 1000 events missing, below 0.01: counted as lost"),
        ({"lost": 10}, Verdict.REALLOCATE, "10 of 1000 events missing: handed out again"),
        ({"lost": 9, "lost_before": 95}, Verdict.REALLOCATE, "9 of 1000 events missing: handed out again"),
        ({"untried": 500, "losses": 5}, Verdict.REALLOCATE, "500 events were not tried: handed out again"),
        ({"lost": 10, "losses": 1}, Verdict.REALLOCATE, "10 of 1000 events missing: handed out again"),
        ({"lost": 10, "losses": 2}, Verdict.SUSPEND, "10 events lost for the 3. time, 3 are the limit"),
        ({"lost": 10, "suspend_after": 1}, Verdict.SUSPEND, "10 events lost for the 1. time, 1 are the limit"),
        (
            {"lost": 10, "on_loss": "expand"},
            Verdict.EXPAND,
            "10 events lost: as many new ones are added to the request",
        ),
        ({"lost": 1, "complete_below": 0.0}, Verdict.REALLOCATE, "1 of 1000 events missing: handed out again"),
    ],
)
def test_rulings(given_: dict[str, object], verdict: Verdict, why: str) -> None:
    ruling = decide(inputs(**given_))
    assert (ruling.verdict, ruling.reason) == (verdict, why)


@pytest.mark.feature("PM-01")
@pytest.mark.parametrize(("state", "verb"), list(itertools.product(RequestState, RequestVerb)))
def test_every_move_of_a_request(state: RequestState, verb: RequestVerb) -> None:
    legal = {
        (RequestState.NEW, RequestVerb.START): RequestState.ACTIVE,
        (RequestState.SUSPENDED, RequestVerb.RESUME): RequestState.ACTIVE,
        (RequestState.NEW, RequestVerb.SUSPEND): RequestState.SUSPENDED,
        (RequestState.ACTIVE, RequestVerb.SUSPEND): RequestState.SUSPENDED,
    }
    if state not in (RequestState.COMPLETE, RequestState.FAILED):
        legal[state, RequestVerb.COMPLETE] = RequestState.COMPLETE
        legal[state, RequestVerb.FAIL] = RequestState.FAILED
    if (state, verb) in legal:
        assert request_after(state, verb) is legal[state, verb]
    else:
        with pytest.raises(IllegalMove, match=f"{verb.value} is not allowed in state '{state.value}'"):
            request_after(state, verb)
    assert set(REQUEST_TABLE) == set(RequestVerb)


@pytest.mark.feature("PM-02")
@given(
    st.lists(st.tuples(st.integers(1, 50), st.integers(1, 400)), max_size=5),
    st.integers(1, 12),
    st.integers(1, 30),
    st.integers(1, 600),
)
def test_cut_is_disjoint_within_budget_and_in_whole_jobs(
    gaps: list[tuple[int, int]], jobs: int, per_job: int, budget: int
) -> None:
    free: list[Range] = []
    first = 1
    for skip, events in gaps:
        free.append(Range(first + skip, events))
        first += skip + events
    pieces = cut(free, jobs * per_job, per_job, budget)
    assert first_overlap(pieces) is None
    assert not subtract(pieces, free)
    assert total(pieces) <= budget
    assert all(piece.events <= jobs * per_job for piece in pieces)
    ends = {gap.end for gap in union(free)}
    broken = [piece for piece in pieces if piece.events % per_job and piece.end not in ends]
    assert len(broken) <= 1
    assert not broken or (pieces == broken and budget < per_job)
    assert pieces or not free


sides = st.lists(st.builds(Range, st.integers(1, 990), st.integers(1, 11)), max_size=6).map(union)


@pytest.mark.feature("PM-03")
@given(sides, sides, sides, st.integers(0, 3), st.sampled_from(["reallocate", "expand"]))
def test_a_settlement_conserves_events(
    done: list[Range], lost: list[Range], others: list[Range], losses: int, on_loss: str
) -> None:
    """Whatever comes back, the pieces are the request, and nothing that belongs to others changes."""
    lost = subtract(lost, done)
    pieces = hand_out([(WHOLE, FREE._replace(losses=losses))], WHOLE, 7)
    pieces = hand_out(take_back(pieces, 7, others), others[0], 8) if others else pieces
    settings = PolicySettings(on_loss=on_loss)  # type: ignore[arg-type]
    result = settle(pieces, Return(7, WHOLE, done, lost), 5000, 0, settings)
    assert covers([piece for piece, _ in result.pieces], WHOLE)
    assert union(result.counted, result.refused) == union(done)
    assert not intersect(result.counted, result.refused)
    merged = [piece for piece, holding in result.pieces if holding == MERGED]
    assert union(merged) == result.counted
    theirs = [piece for piece, holding in result.pieces if holding.allocation == 8]
    assert union(theirs) == (union([others[0]]) if others else [])
    assert not [holding for _, holding in result.pieces if holding.allocation == 7]
    gone = total(piece for piece, holding in result.pieces if holding == LOST)
    if result.ruling.verdict is Verdict.EXPAND:
        assert gone == result.added == result.inputs.lost
    elif result.ruling.verdict is Verdict.COMPLETE:
        assert gone == result.inputs.lost + result.inputs.untried
    else:
        assert gone == result.added == 0


@pytest.mark.feature("PM-07")
def test_after_its_lease_only_open_events_count() -> None:
    pieces = [(Range(1, 400), FREE), (Range(401, 300), Holding(PieceState.LEASED, 9)), (Range(701, 300), MERGED)]
    result = settle(pieces, Return(7, WHOLE, [WHOLE], []), 1000, 0, PolicySettings())
    assert result.counted == [Range(1, 400)]
    assert result.refused == [Range(401, 600)]
    assert result.ruling.verdict is Verdict.REALLOCATE
    assert result.ruling.reason == "the lease had ended: 400 events counted, 600 given to others since"
    assert result.pieces == [(Range(1, 400), MERGED), pieces[1], pieces[2]]

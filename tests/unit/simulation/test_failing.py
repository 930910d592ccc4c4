"""What follows failures, over simulated days: bad nodes, held and stuck jobs, a broken payload, jobs that need more time."""

from typing import Any

import pytest

from tests.unit.simulation.conftest import Live
from tests.unit.simulation.worlds import world

SLOTS = {"slots": 10, "run": "30 min"}


def place(events: int, sites: dict[str, dict[str, Any]], **changes: Any) -> dict[str, Any]:
    """Return a world of these sites, each with one target of its name, and one request."""
    made = world(poll="10 min", **changes)
    made["sites"] = {name: {"targets": {f"t{name}": {**SLOTS, **given}}} for name, given in sites.items()} | {"c": {}}
    made["requests"][0] |= {"events": events, "policy": {"jobs_per_allocation": 50, "complete_below": 0.0}}
    return made


@pytest.mark.feature("PA-321")
def test_a_black_hole_gets_no_more_jobs(live: Live) -> None:
    """One node of ten fails all that it gets within a second, and would draw most of the work."""
    holes: dict[str, Any] = {"happens": [{"what": "black-holes", "target": "ta", "nodes": 1, "at": "1 h"}]}
    guarded = live(place(500, {"a": {"ahead": 1.0}}, **holes))
    bare = live(place(500, {"a": {"ahead": 1.0}}, agent={"errors": {"fast_failures": 100_000}}, **holes))
    assert guarded.measures.merged == bare.measures.merged == 500
    assert 3 <= guarded.measures.failed < bare.measures.failed / 2


@pytest.mark.feature("PA-315")
def test_held_jobs_are_released_three_times_at_most_and_cost_no_attempt(live: Live) -> None:
    rule = {"errors": {"held": [{"said": "simulated hold", "action": "release"}]}}
    outcome = live(place(300, {"a": {"held": 0.4, "hold": "20 d"}}, agent=rule))
    assert outcome.done
    assert outcome.measures.merged == 300
    assert outcome.measures.failed == 0


@pytest.mark.feature("PA-315", "PA-316", "PA-409")
def test_jobs_that_a_rule_sends_elsewhere_are_ended_where_they_were_held(live: Live) -> None:
    rule = {"errors": {"held": [{"said": "simulated hold", "action": "elsewhere"}]}}
    outcome = live(place(300, {"a": {"held": 1.0, "hold": "20 d"}, "b": {}}, agent=rule, duration="10 d"))
    assert outcome.done
    assert outcome.measures.merged == 300
    assert set(outcome.measures.causes) == {"held by the batch system"}


@pytest.mark.feature("PA-314", "PA-409")
def test_what_waits_too_long_goes_to_another_site_and_burns_no_retry(live: Live) -> None:
    """Only one attempt is allowed for each blame: whoever counted a time-out would lose the job."""
    crowded = {"slots": 1, "run": "6 h", "ahead": 20.0}
    made = place(300, {"a": crowded, "b": {}}, agent={"tracker": {"pending_s": 7200.0}}, duration="10 d")
    made["requests"][0]["attempts"] = 1
    outcome = live(made)
    assert outcome.done
    assert outcome.measures.merged == 300
    assert outcome.measures.causes["waited too long in the batch system"] >= 5
    assert outcome.measures.lost == 0


@pytest.mark.feature("PA-314")
def test_what_runs_beyond_its_wall_time_is_ended_and_tried_again(live: Live) -> None:
    """A tenth of the ends is shown twelve hours late, with a wall time of one hour."""
    made = place(200, {"a": {"late": 0.1, "late_by": "12 h"}}, duration="10 d")
    made["requests"][0]["wall"] = "1 h"
    outcome = live(made)
    assert outcome.done
    assert outcome.measures.merged == 200
    assert outcome.measures.causes["ran beyond every limit"] >= 1


@pytest.mark.feature("PA-407")
def test_a_broken_payload_pauses_its_workflow_and_nothing_is_lost(live: Live) -> None:
    made = place(1000, {"a": {"success": 0.0}}, duration="1 d", pace="3 h")
    made["requests"][0]["attempts"] = 50
    outcome = live(made)
    assert not outcome.done
    (reason,) = outcome.verdict.waiting
    assert "broken: " in reason
    assert outcome.measures.failed < 120
    assert outcome.measures.lost == 0


@pytest.mark.feature("PA-402", "PA-408")
def test_jobs_that_run_out_of_time_get_more(live: Live) -> None:
    """With half an hour's work and 25 minutes of wall time most first attempts are too short, and two allowed ones suffice."""
    patient = {"errors": {"brake_first": 1000, "brake_after": 1000}}
    made = place(200, {"a": {"run": "37 min", "spread": 0.05}}, duration="10 d", agent=patient)
    made["requests"][0] |= {"wall": "25 min", "attempts": 2}
    outcome = live(made)
    assert outcome.done
    assert outcome.measures.merged == 200
    assert outcome.measures.causes["wall time limit"] >= 3
    assert outcome.measures.lost == 0

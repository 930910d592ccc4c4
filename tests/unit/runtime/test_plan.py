"""The step graph: control points before and after each step decide which comes next."""

from typing import Any

import pytest

from runtime.plan import MOST_STEPS, Plan, faults

pytestmark = pytest.mark.feature("PA-319")


def walk(steps: list[dict[str, Any]], codes: dict[str, list[int]], files: tuple[str, ...] = ()) -> list[str]:
    """Return the names of the steps that run, in order; `codes` are how each ends, 0 when none is left."""
    plan = Plan(steps, lambda name: name in files)
    ran = []
    while plan.step() is not None:
        ran.append(plan.name())
        left = codes.get(plan.name(), [])
        if not plan.ended(left.pop(0) if left else 0):
            return [*ran, "FAIL"]
    return ran


def step(name: str, **points: Any) -> dict[str, Any]:
    return {"name": name, "command": ["true"], **points}


def test_without_control_points_steps_run_in_order_until_one_fails() -> None:
    assert walk([step("a"), step("b")], {}) == ["a", "b"]
    assert walk([step("a"), step("b"), step("c")], {"b": [3]}) == ["a", "b", "FAIL"]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"file_exists": "x"}, True),
        ({"file_exists": "y"}, False),
        ({"not": {"file_exists": "y"}}, True),
        ({"all": [{"file_exists": "x"}, {"file_exists": "y"}]}, False),
        ({"any": [{"file_exists": "x"}, {"file_exists": "y"}]}, True),
        ({"exit_code": 0, "of": "a"}, True),
        ({"exit_code": [1, 2], "of": "a"}, False),
        ({"counter": "n", "below": 1}, True),
        ({"counter": "n", "below": 0}, False),
        ({}, True),
    ],
)
def test_a_condition_before_a_step_decides_whether_it_is_left_out(condition: dict[str, Any], holds: bool) -> None:
    steps = [step("a"), step("b", before=[{"if": condition, "go": "next"}]), step("c")]
    assert walk(steps, {}, ("x",)) == (["a", "c"] if holds else ["a", "b", "c"])


def test_a_step_is_tried_again_until_its_counter_says_enough() -> None:
    again = {"if": {"all": [{"exit_code": [7]}, {"counter": "tries", "below": 2}]}, "count": "tries", "go": "a"}
    assert walk([step("a", then=[again]), step("b")], {"a": [7, 7, 0]}) == ["a", "a", "a", "b"]
    assert walk([step("a", then=[again]), step("b")], {"a": [7, 7, 7]}) == ["a", "a", "a", "FAIL"]
    assert walk([step("a", then=[again]), step("b")], {"a": [8]}) == ["a", "FAIL"]


def test_a_failure_may_lead_to_another_step_or_to_the_end() -> None:
    assert walk([step("a", then=[{"if": {"exit_code": 3}, "go": "c"}]), step("b"), step("c")], {"a": [3]}) == ["a", "c"]
    assert walk([step("a", then=[{"go": "end"}]), step("b")], {"a": [3]}) == ["a"]
    assert walk([step("a", then=[{"go": "fail"}]), step("b")], {}) == ["a", "FAIL"]


def test_a_control_point_may_fail_the_job_before_a_step() -> None:
    plan = Plan([step("a", before=[{"if": {"not": {"file_exists": "x"}}, "go": "fail"}])], lambda _: False)
    with pytest.raises(LookupError, match="before a says fail"):
        plan.step()


def test_steps_that_go_round_in_a_circle_end() -> None:
    plan = Plan([step("a", then=[{"go": "a"}])], lambda _: False)
    for _ in range(MOST_STEPS):
        plan.step()
        plan.ended(0)
    with pytest.raises(LookupError, match="circle"):
        plan.step()


@pytest.mark.parametrize(
    "points",
    [
        {"before": "x"},
        {"then": [{"go": "nowhere"}]},
        {"then": [{"go": "run"}]},
        {"then": [{"when": {}}]},
        {"then": [{"count": 3}]},
        {"then": [{"if": {"file_exists": "../x"}}]},
        {"then": [{"if": {"file_exists": "/x"}}]},
        {"then": [{"if": {"exit_code": "0"}}]},
        {"then": [{"if": {"exit_code": 0, "of": "nobody"}}]},
        {"then": [{"if": {"counter": "n"}}]},
        {"then": [{"if": {"all": {}}}]},
        {"then": [{"if": {"maybe": 1}}]},
        {"then": [{"if": [1]}]},
    ],
)
def test_what_is_wrong_with_a_control_point_is_said(points: dict[str, Any]) -> None:
    assert "expected" in faults([step("a", **points)])[0]


def test_steps_of_one_name_cannot_be_gone_to() -> None:
    assert "unique" in faults([step("a"), step("a", then=[{"go": "a"}])])[0]
    assert faults([step("a"), step("a")]) == []

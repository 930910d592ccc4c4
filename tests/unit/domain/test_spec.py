"""A workflow as people write it: few lines are enough, and what cannot be is said."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.spec import Step, WorkflowSpec, order_steps

FIVE_LINES = b"""
name = "zmumu"
events = 20000
[[steps]]
command = ["sh", "generate.sh", "{first_event}", "{events}"]
"""


def read(text: bytes) -> WorkflowSpec:
    return msgspec.toml.decode(text, type=WorkflowSpec)


@pytest.mark.feature("PA-101")
def test_five_lines_are_a_workflow():
    spec = read(FIVE_LINES)
    assert (spec.name, spec.events, spec.events_per_job, spec.first_event) == ("zmumu", 20000, 1000, 1)
    assert spec.retry.processing == 3
    assert spec.merge.max_files == 500
    assert spec.steps[0].name == "payload"
    assert msgspec.json.decode(msgspec.json.encode(spec), type=WorkflowSpec) == spec


@pytest.mark.feature("PA-101")
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (b"event = 3", "unknown field `event`"),
        (b"events_per_job = 0", ">= 1"),
        (b"priority = 10000", "<= 9999"),
        (b"category = 'test'", "Invalid enum value 'test'"),
        (b"schema = 2", "Invalid enum value 2"),
        (b"seed = -1", ">= 0"),
        (b"first_event = '1'", "Expected `int`"),
    ],
)
def test_what_cannot_be_is_said(change, text):
    with pytest.raises(msgspec.ValidationError, match=text):
        read(change + FIVE_LINES)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "..", "x" * 101, "ü"])
def test_a_name_is_a_word(name):
    with pytest.raises(msgspec.ValidationError, match="name"):
        msgspec.convert({"name": name, "events": 1, "steps": [{"command": ["x"]}]}, WorkflowSpec)


@pytest.mark.parametrize("missing", ["name", "events", "steps"])
def test_what_must_be_there(missing):
    whole = {"name": "w", "events": 1, "steps": [{"command": ["x"]}]}
    del whole[missing]
    with pytest.raises(msgspec.ValidationError, match=f"missing required field `{missing}`"):
        msgspec.convert(whole, WorkflowSpec)
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"name": "w", "events": 1, "steps": []}, WorkflowSpec)


def step(name: str, *after: str) -> Step:
    return Step(name=name, command=["x"], after=list(after))


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([step("a", "b"), step("b", "a")], "a cycle through a, b"),
        ([step("a", "a")], "a cycle through a"),
        ([step("a"), step("b", "c")], "steps.b.after: no step 'c'; expected one of a, b"),
        ([step("a"), step("a")], "the name 'a' stands twice"),
    ],
)
def test_steps_that_cannot_be_ordered(steps, text):
    with pytest.raises(ValueError, match=text):
        order_steps(steps)
    with pytest.raises(ValueError, match=text):
        WorkflowSpec(name="w", events=1, steps=steps)


@given(st.permutations(range(8)), st.data())
def test_steps_come_after_what_they_need(order, data):
    steps = [
        step(str(n), *(str(m) for m in data.draw(st.sets(st.sampled_from(order[:place])))) if place else ())
        for place, n in enumerate(order)
    ]
    shuffled = data.draw(st.permutations(steps))
    ordered = order_steps(shuffled)
    assert sorted(item.name for item in ordered) == sorted(item.name for item in steps)
    done: set[str] = set()
    for item in ordered:
        assert done.issuperset(item.after)
        done.add(item.name)

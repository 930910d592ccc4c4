"""Conversion that collects every fault."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta

from config.faults import Faults, convert_collecting
from domain.spec import Name, WorkflowSpec

pytestmark = pytest.mark.feature("OPS-03")


class Inner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    slots: Annotated[int, Meta(ge=1, le=9)] = 1
    ratio: Annotated[float, Meta(gt=0)] = 0.5
    mode: Literal["fast", "safe"] = "safe"


class Outer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: Name
    inner: Inner = Inner()
    listed: Annotated[list[Inner], Meta(max_length=2)] = []
    named: dict[Name, Inner] = {}
    pair: tuple[int, ...] = (1, 2)
    maybe: int | None = None
    root: Annotated[str, Meta(extra={"path": True})] = "x"
    password: Annotated[Annotated[str, Meta(min_length=3)], Meta(extra={"secret": True})] = "${P}"
    on: bool = False
    free: Annotated[dict[str, Any], Meta(extra={"verbatim": True})] = {}

    def __post_init__(self) -> None:
        if self.maybe == 13:
            raise ValueError("maybe: got 13, expected luck")


def faults(**data: Any) -> list[str]:
    value, found = convert_collecting({"name": "n", **data}, Outer, "f.toml", only_secrets=True)
    assert (value is None) == bool(found)
    return [str(fault).removeprefix("f.toml: ") for fault in found]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ({"name": "a b"}, "name: got 'a b', expected text: letters, digits, _ . -; at most 100"),
        ({"inner": 5}, "inner: got 5, expected a table"),
        ({"inner": {"slots": 0}}, "inner.slots: got 0, expected a whole number from 1 to 9"),
        ({"inner": {"slots": "two"}}, "inner.slots: got 'two', expected a whole number from 1 to 9"),
        ({"inner": {"slots": True}}, "inner.slots: got true, expected a whole number from 1 to 9"),
        ({"inner": {"slot": 2}}, "inner.slot: got an unknown key, expected a known key; did you mean 'slots'?"),
        ({"inner": {"qqqq": 2}}, "inner.qqqq: got an unknown key, expected one of slots, ratio, mode"),
        ({"inner": {"ratio": float("inf")}}, "inner.ratio: got inf, expected a number above 0, finite"),
        ({"inner": {"ratio": float("nan")}}, "inner.ratio: got nan, expected a number above 0, finite"),
        ({"inner": {"mode": "slow"}}, "inner.mode: got 'slow', expected one of 'fast', 'safe'"),
        ({"listed": [{}, {"slots": -1}]}, "listed[1].slots: got -1, expected a whole number from 1 to 9"),
        ({"listed": [{}, {}, {}]}, "listed: got 3 of them, expected a list of tables"),
        ({"listed": {}}, "listed: got a table with nothing in it, expected a list of tables"),
        ({"named": {"a b": {}}}, "named.'a b': got the name 'a b', expected text: letters, digits, _ . -; at most 100"),
        ({"named": {"a": {"mode": 1}}}, "named.a.mode: got 1, expected one of 'fast', 'safe'"),
        ({"named": [1]}, "named: got [1], expected named tables"),
        ({"pair": [1, "x"]}, "pair[1]: got 'x', expected a whole number"),
        ({"maybe": "x"}, "maybe: got 'x', expected a whole number"),
        ({"on": "yes"}, "on: got 'yes', expected true or false"),
        ({"password": "ab"}, "password: got a value that is not shown, expected text of at least 3 characters"),
        ({"root": "${HOME}"}, "root: got '${HOME}', expected no ${…}: an environment variable stands only in a secret"),
    ],
)
def test_each_fault_names_place_value_and_expectation(data: dict[str, Any], expected: str) -> None:
    assert faults(**data) == [expected]


def test_a_missing_key_is_a_fault() -> None:
    _, found = convert_collecting({}, Outer, "f.toml")
    assert [str(fault) for fault in found] == [
        "f.toml: name: got nothing, expected text: letters, digits, _ . -; at most 100"
    ]


def test_a_rule_of_a_table_is_a_fault_at_that_table() -> None:
    _, found = convert_collecting({"name": "n", "maybe": 13}, Outer, "f.toml", at="sites.a")
    assert [str(fault) for fault in found] == ["f.toml: sites.a: maybe: got 13, expected luck"]


def test_all_faults_come_together_and_the_exception_lists_them() -> None:
    _, found = convert_collecting({"nam": "n", "inner": {"slots": 0, "mode": 0}, "pair": 3}, Outer, "f.toml")
    assert [fault.key for fault in found] == ["nam", "name", "inner.slots", "inner.mode", "pair"]
    assert str(Faults(found)).startswith("5 faults:\n  f.toml: nam: got an unknown key")


def test_paths_start_at_the_base_and_lists_become_tuples() -> None:
    value, _ = convert_collecting({"name": "n", "root": "data", "pair": [3]}, Outer, "f", base=Path("/somewhere"))
    assert (value.root, value.pair) == ("/somewhere/data", (3,))


def test_neighbours_are_offered_at_the_top_only() -> None:
    data = {"name": "n", "pol_s": 1, "inner": {"pol_s": 1}}
    _, found = convert_collecting(data, Outer, "f", neighbours=["poll_s"])
    assert [fault.nearest for fault in found] == ["poll_s", None]


def test_a_long_value_is_shortened() -> None:
    assert len(faults(on="x" * 1000)[0]) < 150


def test_a_workflow_gets_the_same_quality() -> None:
    data = {"name": "w", "event": 5, "steps": [{"command": []}, {"command": "x"}], "resources": {"cors": 1}}
    _, found = convert_collecting(data, WorkflowSpec, "w.toml")
    assert [(fault.key, fault.nearest) for fault in found] == [
        ("event", "events"),
        ("events", None),
        ("steps[0].command", None),
        ("steps[1].command", None),
        ("resources.cors", "cores"),
    ]


def test_a_payload_may_use_shell_variables() -> None:
    data = {"name": "w", "events": 5, "steps": [{"command": ["sh", "-c", "echo ${HOME}"]}]}
    assert convert_collecting(data, WorkflowSpec, "w.toml")[1] == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
FIELDS = st.fixed_dictionaries({}, optional=dict.fromkeys(Outer.__struct_fields__, ANYTHING))


@settings(deadline=None)
@given(FIELDS)
def test_whatever_stands_there_gives_a_value_or_faults_and_never_raises(data: dict[str, Any]) -> None:
    value, found = convert_collecting(data, Outer, "f.toml")
    assert (value is None) == bool(found)
    assert all(str(fault) for fault in found)

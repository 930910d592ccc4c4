"""Facts survive the way to disk and back; what is no fact is refused."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.events import MAX_BODY, Event, JobsCooledOff, JobsCreated, all_events, decode, encode

IDS = st.lists(st.integers(1, 2**53), min_size=1, max_size=50)
TEXT = st.text(max_size=50)
VALUES = {
    int: st.integers(-(2**53), 2**53),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: TEXT,
    dict[str, Any]: st.dictionaries(TEXT, TEXT),
    list[str]: st.lists(TEXT),
}


@st.composite
def facts(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(sorted(all_events().values(), key=lambda found: found.__name__)))
    own = [field for field in msgspec.structs.fields(kind) if field.name not in ("ids", "reason")]
    return kind(ids=draw(IDS), reason=draw(TEXT), **{field.name: draw(VALUES[field.type]) for field in own})


@pytest.mark.feature("PA-005")
@given(facts())
def test_round_trip(fact):
    body = encode(fact)
    assert decode(type(fact).__name__, body) == fact
    assert decode(type(fact).__name__, body.decode()) == fact
    assert json.loads(body)["type"] == type(fact).__name__


@pytest.mark.feature("PA-005")
@pytest.mark.parametrize("kind", all_events().values(), ids=lambda kind: kind.__name__)
def test_every_type_has_its_words(kind):
    moved = {"workflow", "allocation", "job", "file", "block", "transfer"}
    assert kind.entity in moved | {"revision", "settings", "message"}
    assert (kind.__doc__ or "").strip().endswith(".")
    assert kind.version >= 1
    values = {float: 1.0, int: 1, list[str]: ["x"]}
    own = {field.name: values.get(field.type, "x") for field in msgspec.structs.fields(kind) if field.required}
    fact = kind(**(own | {"ids": [1, 2]}))
    assert decode(kind.__name__, encode(fact)) == fact
    with pytest.raises(AttributeError):
        fact.reason = "changed"


@pytest.mark.feature("PA-005")
def test_a_fact_that_is_too_large_is_refused_where_it_is_written():
    room = MAX_BODY - len(encode(JobsCreated(ids=[1], reason="")))
    assert len(encode(JobsCreated(ids=[1], reason="x" * room))) == MAX_BODY
    with pytest.raises(ValueError, match=f"JobsCreated: {MAX_BODY + 1} bytes, at most {MAX_BODY}"):
        encode(JobsCreated(ids=[1], reason="x" * (room + 1)))


@pytest.mark.feature("PA-005")
@pytest.mark.parametrize(
    ("name", "body", "error"),
    [
        ("JobsForgotten", "{}", LookupError),
        ("JobEvent", '{"type": "JobEvent", "ids": [1]}', LookupError),
        ("JobsCreated", "{}", msgspec.ValidationError),
        ("JobsCreated", '{"type": "JobsCreated", "ids": ["one"]}', msgspec.ValidationError),
        ("JobsCreated", '{"type": "JobsCreated", "ids": [1], "more": 1}', msgspec.ValidationError),
        ("JobsCreated", '{"type": "JobsEnded", "ids": [1]}', msgspec.ValidationError),
        ("JobsCooledOff", '{"type": "JobsCooledOff", "ids": [1]}', msgspec.ValidationError),
        ("JobsCreated", "{", msgspec.DecodeError),
    ],
)
def test_what_is_no_fact_is_refused_when_read(name, body, error):
    with pytest.raises(error):
        decode(name, body)


def test_a_wake_time_is_part_of_the_fact():
    fact = decode("JobsCooledOff", encode(JobsCooledOff(ids=[3], until=12.5)))
    assert isinstance(fact, JobsCooledOff)
    assert fact.until == 12.5

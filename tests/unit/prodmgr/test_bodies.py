"""Bodies that will not do are refused with the field, what it got and what was expected."""

import pytest

from backends.prodmgr.wire import AcquireCall, MakeCall, ReportCall
from services.prodmgr.bodies import read
from services.prodmgr.refusal import Refusal

pytestmark = pytest.mark.feature("PM-08")
GOOD = b'"call_id":"acquire-1","agent":"one"'


@pytest.mark.parametrize(
    ("kind", "body", "field", "got", "expected"),
    [
        (AcquireCall, b"{%s}" % GOOD, "max_events", "None", "a value: the field is required"),
        (AcquireCall, b'{%s,"max_events":"5"}' % GOOD, "max_events", "'5'", "int"),
        (AcquireCall, b'{%s,"max_events":0}' % GOOD, "max_events", "0", "int >= 1"),
        (AcquireCall, b'{%s,"max_events":5,"x":1}' % GOOD, "x", "'an unknown field'", "a known one"),
        (AcquireCall, b'{%s,"max_events":5,"sites":["a",7]}' % GOOD, "sites[1]", "7", "str"),
        (AcquireCall, b"[]", "body", "[]", "object"),
        (AcquireCall, b"", "body", "''", "a JSON object"),
        (AcquireCall, b'{"a"', "body", "'{\"a\"'", "a JSON object"),
        (AcquireCall, b"\xff\xfe", "body", "", "a JSON object"),
        (ReportCall, b'{"call_id":"report-1","fence":1,"done":[[1,0]]}', "done[0][1]", "0", "int >= 1"),
        (ReportCall, b'{"call_id":"report-1","fence":1,"done":[[1]]}', "done[0]", "[1]", "array"),
        (ReportCall, b'{"call_id":"x","fence":1}', "call_id", "'x'", "str matching regex"),
    ],
)
def test_malformed_bodies(kind: type, body: bytes, field: str, got: str, expected: str) -> None:
    with pytest.raises(Refusal) as caught:
        read(body, kind)
    problem = caught.value.problem
    assert caught.value.status == 400
    assert problem.field == field
    assert got in problem.got
    assert expected in problem.expected


def test_a_deep_body_is_refused() -> None:
    with pytest.raises(Refusal, match="body: got"):
        read(b'{"spec":' + b"[" * 100_000, MakeCall)

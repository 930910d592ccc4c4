"""The journal is read forward, at a cost proportional to what is new, and shrinks when attempts are cleaned."""

import os
from pathlib import Path

import pytest

from backends.batch.base import BatchState, Evidence
from backends.batch.local_journal import LocalJournal, parse_cursor
from runtime import spool
from runtime.journal import Journal
from runtime.spool import Spool

pytestmark = pytest.mark.feature("PA-302")


@pytest.fixture
def where(tmp_path: Path) -> Spool:
    made = Spool(str(tmp_path))
    made.create()
    return made


@pytest.fixture
def writer(where: Spool) -> Journal:
    return Journal(where)


def accept(writer: Journal, batch: str, *tokens: str) -> int:
    return writer.accept(batch=batch, tokens=list(tokens), boot="boot", node="n", at=1.0)


def say(writer: Journal, segment: int, event: str, token: str, **more: object) -> None:
    spool.append(writer.descriptor(segment), spool.line(event, token, **more))


def test_an_attempt_is_followed_from_acceptance_to_its_report(where: Spool, writer: Journal) -> None:
    reader = LocalJournal(where)
    segment = accept(writer, "b1", "t1", "t2")
    assert [(attempt.token, attempt.state) for attempt in reader.read()] == [("t1", "pending"), ("t2", "pending")]
    say(writer, segment, spool.STARTED, "t1", at=2.0, who="x")
    assert [(attempt.token, attempt.state) for attempt in reader.read()] == [("t1", "running")]
    spool.append(writer.descriptor(segment), spool.ended_with_report("t1", 0, "", 3.0, b'{"a":1}'))
    (attempt,) = reader.read()
    status = attempt.status()
    assert (status.state, status.exit_code, status.evidence) == (BatchState.ENDED, 0, Evidence.REPORT)
    assert (status.started_at, status.ended_at, status.batch_id) == (2.0, 3.0, "b1.0")
    assert reader.report(attempt) == b'{"a":1}'
    assert reader.read() == []
    assert reader.live == 1


def test_the_first_end_counts(where: Spool, writer: Journal) -> None:
    reader = LocalJournal(where)
    segment = accept(writer, "b1", "t1")
    say(writer, segment, spool.ENDED, "t1", code=0, at=1.0)
    say(writer, segment, spool.ENDED, "t1", signal=9, at=2.0)
    say(writer, segment, spool.STARTED, "t1", at=3.0)
    reader.read()
    assert (reader.attempts["t1"].code, reader.attempts["t1"].signal, reader.live) == (0, None, 0)


def test_an_older_cursor_tells_what_was_new_since(where: Spool, writer: Journal) -> None:
    reader = LocalJournal(where)
    segment = accept(writer, "b1", "t1", "t2")
    reader.read()
    cursor = reader.cursor
    say(writer, segment, spool.STARTED, "t2", at=2.0)
    reader.read()
    assert [attempt.token for attempt in after_restart(where).since(cursor)] == ["t2"]
    assert reader.since(reader.cursor) == []
    assert len(reader.since("-")) == 2


def after_restart(where: Spool) -> LocalJournal:
    reader = LocalJournal(where)
    reader.read()
    return reader


def test_only_what_is_new_is_read(where: Spool, writer: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = LocalJournal(where)
    segment = accept(writer, "b1", *[f"t{number}" for number in range(5000)])
    reader.read()
    say(writer, segment, spool.STARTED, "t7", at=2.0)
    taken: list[bytes] = []
    take = reader._take
    monkeypatch.setattr(reader, "_take", lambda number, start, text: taken.append(text) or take(number, start, text))
    reader.read()
    assert len(taken) == 1


def test_half_a_line_is_left_for_the_next_time(where: Spool, writer: Journal) -> None:
    reader = LocalJournal(where)
    whole = spool.line(spool.ACCEPTED, "", batch="b", tokens=["t1"], node="n", at=1.0)
    os.write(writer.descriptor(1), whole[:30])
    assert reader.read() == []
    os.write(writer.descriptor(1), whole[30:])
    assert [attempt.token for attempt in reader.read()] == ["t1"]


def test_a_segment_goes_when_all_its_attempts_are_cleaned(
    where: Spool, writer: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 10)
    reader = LocalJournal(where)
    for batch, token in (("b1", "t1"), ("b2", "t2"), ("b3", "t3")):
        say(writer, accept(writer, batch, token), spool.ENDED, token, code=0, at=1.0)
    reader.read()
    cursor = reader.cursor
    assert where.segments() == [1, 2, 3]
    reader.clean([reader.attempts["t2"], reader.attempts["t3"]])
    assert where.segments() == [1, 3]
    assert set(after_restart(where).attempts) == {"t1"}
    assert [attempt.token for attempt in reader.since(cursor)] == []
    assert Journal(where).current == 3


def test_a_cursor_is_read_back() -> None:
    assert parse_cursor("1:20,3:40") == {1: 20, 3: 40}
    assert parse_cursor("-") == {}
    with pytest.raises(ValueError, match="invalid literal"):
        parse_cursor("x:1")

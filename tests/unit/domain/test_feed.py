"""What a site status feed says and what follows from it, as tables."""

import itertools
import json
from typing import Any

import msgspec
import pytest

from domain.controls import Control, Kind, Mode, Scope
from domain.feed import Answer, SiteWord, doubtful, follow, read, shares
from domain.job import JobType
from domain.matching import Candidate, Place, match, wait_reason

pytestmark = pytest.mark.feature("PA-212")
NOW = 1_000_000.0


def answer(**sites: dict[str, Any]) -> Answer:
    return read(json.dumps({"updated": NOW, "sites": sites}).encode(), NOW)


def mode(site: str, value: str, author: str = "feed") -> Control:
    return Control(Scope.SITE, site, Kind.MODE, value, "", author, NOW, None)


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ({}, Mode.ENABLED),
        ({"state": "down", "drain": True}, Mode.DOWN),
        ({"state": "test", "drain": True}, Mode.DRAIN),
        ({"drain": "merge"}, Mode.DRAIN_MERGE),
        ({"drain": "processing"}, Mode.DRAIN_PROCESSING),
        ({"state": "test"}, Mode.TEST),
        ({"a key of tomorrow": 1}, Mode.ENABLED),
    ],
)
def test_the_mode_of_a_word(word: dict[str, Any], expected: Mode) -> None:
    assert answer(alps=word).sites["alps"].mode is expected


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (b"", "truncated"),
        (b"<html>", "malformed"),
        (b'{"updated": 5}', "sites"),
        (b'{"updated": 5, "sites": []}', "sites"),
        (b'{"updated": 5, "sites": {"a": {"state": "asleep"}}}', "asleep"),
        (b'{"updated": 5, "sites": {"a": {"slots": -1}}}', "slots"),
        (b'{"updated": 5, "sites": {"a": {"releases": ["r", ""]}}}', "releases"),
        (b'{"updated": 0, "sites": {}}', "updated"),
        (b'{"updated": 5, "sites": {"a": {"slots": 10000000000000000000000}}}', "slots"),
        (b'{"updated": 5, "sites": {}, "x": ' + b"[" * 200_000, "nested too deeply"),
        (b'{"updated": 1e400, "sites": {}}', "updated"),
        (b'{"updated": 5, "sites": {"a": {"reason": "\xff"}}}', "utf-8"),
        (b'{"updated": 1004000, "sites": {}}', "got 1004000, expected a time until now"),
    ],
    ids=itertools.count(),
)
def test_anything_else_is_refused(text: bytes, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        read(text, NOW)


def test_only_what_is_new_is_said_and_people_stand_above_it() -> None:
    said = [
        mode("down", "down"),
        mode("back", "down"),
        mode("silent", "drain"),
        mode("ours", "drain", "ann"),
        mode("trusted", "down"),
        Control(Scope.SITE, "trusted", Kind.TRUST, "", "repaired", "ann", NOW, None),
    ]
    down = {"state": "down"}
    words = answer(down=down, back={}, ours=down, trusted=down, fresh={"drain": True}, worse=down, stranger=down)
    changes = follow(words, said, ["down", "back", "silent", "ours", "trusted", "fresh", "worse", "well"], NOW)
    assert [(one.subject, one.value, one.author) for one in changes.say] == [
        ("fresh", "drain", "feed"),
        ("worse", "down", "feed"),
    ]
    assert changes.lift == ["back", "trusted"]
    assert changes.down == ["worse"]


@pytest.mark.parametrize(("down", "known", "expected"), [(0, 0, False), (1, 2, False), (2, 3, True), (1, 1, True)])
def test_more_than_half_is_doubtful(down: int, known: int, expected: bool) -> None:
    assert doubtful(down, known) is expected


@pytest.mark.parametrize(
    ("slots", "held", "expected"),
    [
        (10, {"a": 4}, {"a": 10}),
        (11, {"a": 4, "b": 0}, {"a": 8, "b": 3}),
        (3, {"a": 4, "b": 2}, {"a": 4, "b": 2}),
        (0, {}, {}),
    ],
)
def test_free_slots_are_shared_by_targets(slots: int, held: dict[str, int], expected: dict[str, int]) -> None:
    assert shares(slots, held) == expected


def test_a_job_goes_where_its_software_is() -> None:
    free = {JobType.PROCESSING: 5}
    places = [
        Place("a", "A", free, releases=frozenset({"r6"})),
        Place("b", "B", free, releases=frozenset({"r6", "r7"})),
        Place("c", "C", free, score=0.1),
    ]
    job = Candidate(1, JobType.PROCESSING, frozenset(), None, releases=frozenset({"r7"}))
    assert [choice.target for choice in match([job], places)] == ["b"]
    assert [choice.target for choice in match([job], places[::2])] == ["c"], "of C nothing is known"
    assert match([job], places[:1]) == {}
    assert wait_reason(job, places[:1]) == "no-release: a without r7"


def test_an_answer_reads_as_it_was_written() -> None:
    words = {"alps": SiteWord(state="test", slots=4, releases=["r7"], reason="new cluster")}
    assert read(msgspec.json.encode(Answer(updated=NOW, sites=words)), NOW).sites == words

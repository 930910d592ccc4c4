"""A pilot's decisions: what it takes, when it gives up; and the desk's answers about the shared directory."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends.batch.base import BatchState
from backends.batch.pilot_view import PilotView
from runtime import desk, pilot, shared
from runtime.pilot import Pilot
from runtime.shared import Shared


@pytest.fixture
def where(tmp_path: Path) -> Shared:
    made = Shared(str(tmp_path / "shared"), "agent-1")
    desk.answer(made, {"ask": "open"})
    return made


def drop(where: Shared, batch: str, *jobs: tuple[str, int, int, int]) -> None:
    text = json.dumps({"jobs": [[token, cores, 2, memory, wall] for token, cores, memory, wall in jobs]})
    desk.answer(where, {"ask": "drop", "batch": batch, "text": "\n".join([text, *("{}" for _ in jobs)])})


def look(where: Shared, view: PilotView) -> None:
    known = list(view.batches)
    view.take(desk.answer(where, {"ask": "look", "seen": view.seen, "known": known, "signs": True}))


class Taker(Pilot):
    """A pilot whose jobs are only noted."""

    def __init__(self, root: str, name: str, **given: Any) -> None:
        super().__init__(Shared(root, name), **{"slots": 1, "memory": 0, "idle": 1.0, "wall": 0.0, **given})
        self.began: list[str] = []

    def _start(self, entry: Any) -> None:
        self.began.append(entry.token)
        self.free -= entry.cores
        self.free_memory -= entry.memory


@pytest.mark.feature("PA-308")
def test_two_pilots_never_take_the_same_job(where: Shared) -> None:
    drop(where, "b1", *((f"t{number:03d}", 1, 0, 60) for number in range(100)))
    pilots = [Taker(where.root, f"pilot{number}", slots=1) for number in range(7)]
    while True:
        for one in pilots:
            one.free = 1
        took = [one._take_work() for one in pilots]
        if not any(took):
            break
    began = [token for one in pilots for token in one.began]
    assert sorted(began) == [f"t{number:03d}" for number in range(100)]
    assert min(len(one.began) for one in pilots) > 5


def test_the_oldest_job_goes_first_and_a_large_one_is_not_passed_for_ever(where: Shared) -> None:
    drop(where, "b1", ("small", 1, 0, 60), ("large", 2, 0, 60), ("later", 1, 0, 60))
    one = Taker(where.root, "pilot1", slots=2)
    assert one._take_work()
    assert one.began == ["small"]
    one.free = 2
    one._take_work()
    assert one.began == ["small", "large"]


def test_memory_counts_where_a_pilot_has_a_limit(where: Shared) -> None:
    drop(where, "b1", ("t1", 1, 600, 60), ("t2", 1, 600, 60))
    one = Taker(where.root, "pilot1", slots=4, memory=1000)
    one._take_work()
    assert one.began == ["t1"]


def test_what_could_not_end_in_time_is_left_to_others(where: Shared) -> None:
    drop(where, "b1", ("long", 1, 0, 600), ("short", 1, 0, 60))
    one = Taker(where.root, "pilot1", slots=4, wall=600.0)
    one._take_work()
    assert one.began == ["short"]
    assert not os.path.islink(where.claim_of("long"))


def test_a_job_of_a_submission_that_is_gone_is_not_run(where: Shared) -> None:
    drop(where, "b1", ("t1", 1, 0, 60), ("t2", 1, 0, 60))
    one = Taker(where.root, "pilot1", slots=1)
    one._take_work()
    desk.answer(where, {"ask": "clean", "attempts": [["b1", "t1"], ["b1", "t2"]], "batches": ["b1"]})
    one.free = 1
    assert not one._take_work()
    assert one.began == ["t1"]
    assert not os.path.islink(where.claim_of("t2"))


@pytest.mark.feature("PA-313")
def test_a_pilot_that_was_silent_for_too_long_gives_up(where: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    one = Taker(where.root, "pilot1")
    killed: list[int] = []
    monkeypatch.setattr(pilot.process, "kill_session", killed.append)

    one.staff = SimpleNamespace(running={7: None})  # type: ignore[assignment]
    now = time.monotonic()
    one._keep_lease(now + shared.LEASE_S - 1)
    assert killed == []
    with pytest.raises(SystemExit, match="given up"):
        one._keep_lease(now + 2 * shared.LEASE_S)
    assert killed == [7]


@pytest.mark.feature("PA-313")
def test_only_claims_of_dead_pilots_are_ended(where: Shared) -> None:
    drop(where, "b1", *((f"t{number}", 1, 0, 60) for number in range(3)))
    view = PilotView()
    for name in ("pilot1", "pilot2"):
        Taker(where.root, name)._take_work()
    look(where, view)
    desk.answer(where, {"ask": "judge", "dead": ["pilot1"], "tokens": view.held_by({"pilot1"})})
    look(where, view)
    states = {token: attempt.state for token, attempt in view.attempts.items()}
    assert list(states.values()).count(BatchState.ENDED) == 1
    assert states["t2"] is BatchState.PENDING
    (ended,) = [attempt for attempt in view.attempts.values() if attempt.state is BatchState.ENDED]
    assert (ended.signal, ended.reason) == (9, desk.GONE)


def test_a_long_journal_is_told_in_parts(where: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "MOST_BYTES", 500)
    drop(where, "b1", *((f"t{number}", 1, 0, 60) for number in range(50)))
    desk.answer(where, {"ask": "cancel", "waiting": [f"t{number}" for number in range(50)], "running": {}})
    view = PilotView()
    parts = 0
    more = True
    while more:
        parts += 1
        answer = desk.answer(where, {"ask": "look", "seen": view.seen, "known": list(view.batches)})
        view.take(answer)
        more = answer["more"]
    assert parts > 5
    assert {attempt.reason for attempt in view.attempts.values()} == {"cancelled"}
    assert len(view.attempts) == 50


def test_a_view_made_anew_knows_the_same(where: Shared) -> None:
    drop(where, "b1", ("t1", 1, 0, 60), ("t2", 1, 0, 60), ("t3", 1, 0, 60))
    Taker(where.root, "pilot1")._take_work()
    desk.answer(where, {"ask": "cancel", "waiting": ["t2"], "running": {}})
    first, second = PilotView(), PilotView()
    look(where, first)
    done = first.clean(["t2"])
    assert done == ([], [])
    desk.answer(where, {"ask": "clean", "attempts": [["b1", "t2"]]})
    look(where, second)
    look(where, first)
    assert first.attempts.keys() == second.attempts.keys() == {"t1", "t3"}
    assert first.cores == second.cores == 2


def test_garbage_goes_after_a_week_and_nothing_else(where: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(where, "b1", ("t1", 1, 0, 60))
    desk.answer(where, {"ask": "void", "tokens": ["t1", "never"]})
    desk.sweep(where)
    assert os.path.islink(where.claim_of("never"))
    monkeypatch.setattr(desk, "GARBAGE_S", -1.0)
    desk.sweep(where)
    assert not os.path.islink(where.claim_of("never"))
    assert os.path.islink(where.claim_of("t1"))


def test_an_unknown_question_is_refused(where: Shared) -> None:
    with pytest.raises(ValueError, match="ask is 'dance', expected one of cancel, clean"):
        desk.answer(where, {"ask": "dance"})

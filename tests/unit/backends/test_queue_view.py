"""From one listing to the next: what changed, what vanished, what is believed."""

import time

import pytest

from backends.batch.base import BatchState, Evidence
from backends.batch.queue_view import QueueView
from backends.batch.slurm import Slurm, SlurmSettings


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def view(watch: Watch | None = None) -> QueueView:
    return QueueView(Slurm(SlurmSettings(directory="/x")).listed, watch or Watch(), 60.0)


def line(token: str, word: str = "PENDING", number: int = 1, reason: str = "None") -> str:
    return f"{number}|N/A|{word}|n1|{token}|{reason}"


def end(token: str, code: int = 0) -> dict[str, object]:
    return {"token": token, "code": code, "reason": "", "began": 1.0, "at": 2.0, "node": "n1", "batch_id": "1"}


@pytest.mark.feature("PA-301", "PA-311")
def test_only_changes_are_told() -> None:
    one = view()
    one.take([line("a"), line("b")], [])
    first = one.since("")
    assert first.complete
    assert {status.token for status in first.statuses} == {"a", "b"}
    one.take([line("a", "RUNNING"), line("b")], [])
    second = one.since(first.cursor)
    assert [(status.token, status.state) for status in second.statuses] == [("a", BatchState.RUNNING)]
    assert one.since(first.cursor).statuses == second.statuses, "a lost answer is asked for again"
    assert one.since(second.cursor).statuses == []
    assert one.since("other.7").complete


@pytest.mark.feature("PA-312")
def test_absence_is_never_an_end() -> None:
    watch = Watch()
    one = view(watch)
    one.take([line("a", "RUNNING")], [])
    one.take([], [])
    assert one.status["a"].state is BatchState.UNKNOWN
    assert one.questions() == ["a"]
    watch.now = 1e9
    one.take([], [])
    assert one.status["a"].state is BatchState.UNKNOWN
    one.take([line("a", "RUNNING")], [])
    assert one.status["a"].state is BatchState.RUNNING
    assert one.questions() == []


@pytest.mark.feature("PA-312")
def test_a_sentinel_wins_over_the_queue_and_the_queue_has_to_wait_for_it() -> None:
    watch = Watch()
    one = view(watch)
    one.take([line("a", "COMPLETED"), line("b", "FAILED"), line("c", "RUNNING")], [end("c", 7)])
    assert one.status["c"].exit_code == 7
    assert "a" not in one.status
    one.take([line("a", "COMPLETED"), line("b", "FAILED"), line("c", "RUNNING", reason="late")], [end("a")])
    assert (one.status["a"].evidence, one.status["a"].exit_code) == (Evidence.SENTINEL, 0)
    assert one.status["c"].state is BatchState.ENDED
    watch.now = 61
    one.take([line("a", "COMPLETED"), line("b", "FAILED")], [])
    assert (one.status["b"].evidence, one.status["b"].reason) == (Evidence.ACCOUNTING, "FAILED")


@pytest.mark.feature("PA-313")
def test_what_was_cleaned_is_not_told_again_while_it_is_listed() -> None:
    one = view()
    one.take([line("a", "RUNNING")], [end("a")])
    one.forget(["a"])
    cursor = one.since("").cursor
    one.take([line("a", "COMPLETED")], [end("a")])
    assert one.since(cursor).statuses == []
    assert one.since("").statuses == []
    one.take([], [])
    assert one.since("").statuses == []


@pytest.mark.feature("PA-303")
def test_arrays_are_told_apart_by_their_places() -> None:
    one = view()
    lines = [
        "9|0|RUNNING|n1|prodagent-x|None",
        "9|1|PENDING||prodagent-x|Priority",
        "9|7|PENDING||prodagent-x|Priority",
    ]
    assert one.strange(lines) == {"prodagent-x"}
    one.parcels["prodagent-x"] = ["a", "b"]
    assert one.strange(lines) == set()
    one.take(lines, [])
    assert {token: status.batch_id for token, status in one.status.items()} == {"a": "9_0", "b": "9_1"}


@pytest.mark.feature("PA-311")
def test_a_hundred_thousand_live_jobs_cost_less_than_a_second() -> None:
    one = view()
    lines = [line(f"{number:032x}", number=number, reason="Priority") for number in range(100_000)]
    one.take(lines, [])
    cursor = one.since("").cursor
    for number in range(0, 100_000, 100):
        lines[number] = line(f"{number:032x}", "RUNNING", number)
    text = "\n".join(lines)
    begun = time.process_time()
    one.take(text.splitlines(), [])
    changed = one.since(cursor).statuses
    assert len(changed) == 1000
    assert time.process_time() - begun < 1.0

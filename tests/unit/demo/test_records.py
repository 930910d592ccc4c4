"""Sentences made of the agent's records."""

from typing import Any

import msgspec

from services.demo import records
from storage.views import AttemptView, FactView, FileView, JobView


def attempt(number: int, created: float, closed: float | None, **more: Any) -> AttemptView:
    known: dict[str, Any] = dict.fromkeys(AttemptView.__struct_fields__)
    known |= {"id": number, "job_id": 7, "number": number, "site": "alpha", "created_at": created, "closed_at": closed}
    return AttemptView(**known | more)


def fact(kind: str, at: float, reason: str = "") -> FactView:
    return FactView(id=int(at), at=at, type=kind, reason=reason, more={})


def job(attempts: list[AttemptView], history: list[FactView]) -> JobView:
    known: dict[str, Any] = dict.fromkeys(JobView.__struct_fields__)
    return JobView(**known | {"id": 7, "attempts_made": attempts, "history": history, "files": []})


def output(history: list[FactView], **more: Any) -> FileView:
    known: dict[str, Any] = dict.fromkeys(FileView.__struct_fields__)
    return FileView(**known | {"id": 3, "job": 7, "lfn": "/store/a.root", "history": history} | more)


FAILED = attempt(1, 10.0, 20.0, outcome="failed", exit_code=65, blame="payload", cause="generate: exit code 65")
GOOD = attempt(2, 22.0, 30.0, outcome="success", exit_code=0)


def test_a_failed_attempt_and_what_followed() -> None:
    history = [
        fact("JobsFailed", 20.0),
        fact("JobsCooledOff", 20.5, "payload failed, attempt 1 of 3"),
        fact("JobsRequeued", 21.0),
    ]
    assert records.retried(job([FAILED, GOOD], history), FAILED) == (
        "attempt 1 of job 7 at alpha booked as failed; code 65, payload failed, blamed on the payload"
        " (generate: exit code 65); cooled off: payload failed, attempt 1 of 3; attempt 2: success"
    )


def test_nothing_is_claimed_that_is_not_on_record() -> None:
    assert records.retried(job([FAILED], []), FAILED).endswith("(generate: exit code 65)")
    assert records.remade(output([]), job([GOOD], []), None) == ""
    assert records.remade(output([fact("FilesInvalidated", 40.0, "cut")]), job([GOOD], []), None) == ""


def test_a_damaged_output_is_made_again() -> None:
    again = attempt(3, 41.0, 50.0, outcome="success", exit_code=0)
    history = [fact("JobsRequeued", 21.0, "earlier"), fact("JobsRequeued", 40.0, "its output was damaged")]
    cut = output([fact("FilesInvalidated", 40.0, "/store/a.root: size is 5, expected 10")])
    told = records.remade(cut, job([FAILED, GOOD, again], history), output([], merged_into="/store/m.root"))
    assert told == (
        "found before the merge used it (a.root: size is 5, expected 10); job 7 queued again: its output was damaged;"
        " attempt 3: success; its new output was merged into m.root"
    )


def test_attempts_under_way_at_a_moment() -> None:
    open_one = msgspec.structs.replace(GOOD, closed_at=None, outcome=None)
    found = job([FAILED, open_one], [])
    assert [tried.number for tried in records.live_at(found, 15.0)] == [1]
    assert [tried.number for tried in records.live_at(found, 21.0)] == []
    assert [tried.number for tried in records.live_at(found, 99.0)] == [2]


def test_outcomes_in_words() -> None:
    void = msgspec.structs.replace(FAILED, outcome="void")
    assert [records.outcome(tried) for tried in (GOOD, FAILED, void)] == [
        "success",
        "failed with 65",
        "never submitted",
    ]
    assert records.listed({"success": 3, "never submitted": 1}) == "1 never submitted, 3 success"

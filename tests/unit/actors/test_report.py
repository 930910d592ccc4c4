"""What the agent makes of an attempt that left no report, or none that can be read."""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from actors.report import Report
from domain import exit_codes
from domain.job import JobType
from runtime import report
from storage.accounting import Bad

pytestmark = pytest.mark.feature("PA-318")


def judged(raw: bytes | None, exit_code: int | None) -> tuple[int, str]:
    """Return code and text of the failure."""
    job: Any = SimpleNamespace(id=17, type=JobType.PROCESSING)
    attempt: Any = SimpleNamespace(token="t1", exit_code=exit_code)
    outcome = Report._judge(None, job, attempt, SimpleNamespace(), raw)  # type: ignore[arg-type]
    assert isinstance(outcome, Bad)
    return outcome.failure.code, outcome.failure.text


NEVER_UPDATED = report.encode(report.never_updated("t1", 17, "node"))


@pytest.mark.parametrize(
    ("raw", "exit_code", "code", "text"),
    [
        (None, None, exit_codes.REPORT_MISSING, "no report and no exit code"),
        (None, 3, exit_codes.REPORT_MISSING, "the runtime ended with 3"),
        (None, 137, exit_codes.RUNTIME_KILLED, "killed by signal 9"),
        (None, exit_codes.WALL_TIME, exit_codes.WALL_TIME, "ended by the batch system"),
        (NEVER_UPDATED, None, exit_codes.REPORT_NEVER_UPDATED, "no report and no exit code"),
        (NEVER_UPDATED, 1, exit_codes.REPORT_NEVER_UPDATED, "the runtime ended with 1"),
        (NEVER_UPDATED, 137, exit_codes.RUNTIME_KILLED, "killed by signal 9"),
        (NEVER_UPDATED, exit_codes.MEMORY, exit_codes.MEMORY, "ended by the batch system"),
        (b"", 0, exit_codes.REPORT_UNREADABLE, "unreadable"),
        (b"{}", 0, exit_codes.REPORT_UNREADABLE, "unreadable"),
        (report.encode(report.blank("t2", 17, "")), 0, exit_codes.REPORT_UNREADABLE, "attempt t2; expected 17, t1"),
        (report.encode(report.blank("t1", 17, "")), 0, exit_codes.REPORT_UNREADABLE, "a success with 0 outputs"),
    ],
)
def test_what_a_missing_or_broken_report_amounts_to(
    raw: bytes | None, exit_code: int | None, code: int, text: str
) -> None:
    found, said = judged(raw, exit_code)
    assert found == code
    assert text in said


def test_a_failure_is_that_of_the_first_error() -> None:
    made = report.blank("t1", 17, "")
    report.fail(made, report.Problem(7, "exit code 7", "gen"), "the end of the log")
    made["log_archive"] = {"lfn": "/store/logs/x", "problem": "no space"}
    assert judged(msgspec.json.encode(made), 7) == (7, "gen: exit code 7")

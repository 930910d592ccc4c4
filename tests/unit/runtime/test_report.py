"""The report fits into 8 MiB and stays valid, however much there is to say."""

import pytest

from domain.report import MAX_REPORT, decode_report
from runtime import report
from runtime.problem import Problem

pytestmark = pytest.mark.feature("PA-318")


def test_a_short_report_is_whole() -> None:
    made = report.blank("t1", 3, "node")
    assert not decode_report(report.encode(made)).truncated


@pytest.mark.parametrize("what", ["inputs", "bad inputs", "errors", "steps", "parents"])
def test_a_long_report_says_that_it_was_cut(what: str) -> None:
    made = report.blank("t1", 3, "node")
    name = "x" * 1000
    if what in ("inputs", "bad inputs"):
        made["inputs"] = [{"lfn": name, "ok": what == "inputs", "events": 1, "problem": name * 10}] * 20_000
    elif what == "errors":
        made["errors"] = [{"code": 1, "step": "s", "text": name * 60, "log": name * 60}] * 200
    elif what == "steps":
        made["steps"] = [{"name": name * 10, "exit_code": 0}] * 2000
    else:
        output = {"lfn": "/a", "pfn": "/a", "size": 1, "events": 1, "adler32": "0" * 8, "sha256": "0" * 64}
        made["outputs"] = [{**output, "parents": [name] * 20_000}]
    raw = report.encode(made)
    assert len(raw) <= MAX_REPORT
    short = decode_report(raw)
    assert short.truncated
    assert (short.token, short.job) == ("t1", 3)
    assert bool(short.outputs) == (what == "parents")


def test_the_first_problem_decides_the_exit_code() -> None:
    made = report.blank("t1", 3, "node")
    report.fail(made, Problem(7, "first"))
    report.fail(made, Problem(8, "second"))
    assert decode_report(report.encode(made)).exit_code == 7

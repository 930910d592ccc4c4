"""Whatever happens to a job, its report says it."""

import hashlib
import json
import os
import signal
import subprocess
import time
import zlib
from pathlib import Path
from typing import Any

import pytest

from domain import exit_codes

pytestmark = pytest.mark.feature("PA-318", "PA-319")


def an_input(path: Path, content: bytes, events: int) -> dict[str, Any]:
    path.write_bytes(content)
    size, adler32 = len(content), f"{zlib.adler32(content):08x}"
    return {"lfn": f"/store/{path.name}", "path": str(path), "size": size, "adler32": adler32, "events": events}


def test_a_good_job_publishes_its_output_and_says_what_it_is(any_bench: Any) -> None:
    report = any_bench.run()
    assert (report.exit_code, report.token, report.job, report.errors) == (0, "t1", 17, [])
    content = any_bench.published.read_bytes()
    (output,) = report.outputs
    assert content == b"a\nb\nc\n"
    assert (output.lfn, output.pfn) == (any_bench.lfn, str(any_bench.published))
    assert (output.size, output.events) == (6, 3)
    assert output.adler32 == f"{zlib.adler32(content):08x}"
    assert output.sha256 == hashlib.sha256(content).hexdigest()
    assert os.listdir(any_bench.published.parent) == ["events.txt"]
    assert report.steps[0].exit_code == 0
    assert report.started_at <= report.ended_at


def test_files_of_the_sandbox_lie_in_the_working_directory(any_bench: Any) -> None:
    any_bench.spec["sandbox"] = any_bench.sandbox(
        make_py="import tool, sys; tool.make(sys.argv[1])",
        tool_py=("def make(path):\n    with open(path, 'w') as sink:\n        sink.write('x\\n' * 7)\n"),
    )
    any_bench.spec["steps"] = [{"name": "make", "command": [any_bench.python, "make.py", "{output}"]}]
    report = any_bench.run()
    assert [output.events for output in report.outputs] == [7]


def test_the_sandbox_directory_can_be_named(bench: Any) -> None:
    bench.spec["sandbox"] = bench.sandbox(data_txt="1\n2\n")
    bench.shell("cp {sandbox}/data.txt {output}")
    assert bench.run().outputs[0].events == 2


@pytest.mark.parametrize("damage", ["missing", "damaged", "truncated"])
def test_a_bad_sandbox_is_said(bench: Any, damage: str) -> None:
    sandbox = bench.sandbox(data_txt="1\n2\n")
    archive = Path(sandbox["path"])
    if damage == "missing":
        archive.unlink()
    else:
        archive.write_bytes(archive.read_bytes()[:40])
        if damage == "truncated":
            sandbox["sha256"] = hashlib.sha256(archive.read_bytes()).hexdigest()
    bench.spec["sandbox"] = sandbox
    assert bench.run().exit_code == exit_codes.SANDBOX_MISSING


def test_steps_run_in_order_until_one_fails(bench: Any) -> None:
    bench.shell("echo 1 > events.txt", "echo 2 >> events.txt; echo oops; exit 7", "echo 3 >> events.txt")
    report = bench.run()
    assert report.exit_code == 7
    assert [step.exit_code for step in report.steps] == [0, 7]
    assert (report.errors[0].step, report.errors[0].log) == ("step2", "oops\n")
    assert report.outputs == []
    assert not bench.published.exists()


def test_the_environment_is_that_of_job_and_step(bench: Any) -> None:
    bench.spec["environment"] = {"A": "job", "B": "job"}
    bench.shell('printf "$A\\n$B\\n" > events.txt')
    bench.spec["steps"][0]["environment"] = {"B": "step"}
    bench.run()
    assert bench.published.read_text() == "job\nstep\n"


@pytest.mark.parametrize(
    ("script", "code"), [("kill -9 $$", 137), ("kill -TERM $$", 143), ("exit 1", 1), ("exit 255", 255)]
)
def test_how_a_payload_ended_is_said(bench: Any, script: str, code: int) -> None:
    bench.shell(script)
    assert bench.run().exit_code == code


@pytest.mark.parametrize(
    ("command", "code"),
    [(["no-such-program"], exit_codes.EXECUTABLE_NOT_FOUND), (["/etc/hostname"], exit_codes.NOT_EXECUTABLE)],
)
def test_a_program_that_cannot_run_is_said(bench: Any, command: list[str], code: int) -> None:
    bench.spec["steps"] = [{"name": "p", "command": command}]
    assert bench.run().exit_code == code


def test_a_script_without_interpreter_is_said(bench: Any) -> None:
    bench.spec["sandbox"] = bench.sandbox(bad_sh="#!/no/such/interpreter\n")
    bench.shell("true")
    bench.spec["steps"] = [{"name": "p", "command": ["sh", "-c", "cp bad.sh b.sh; chmod +x b.sh"]}]
    bench.spec["steps"].append({"name": "q", "command": ["./b.sh"]})
    assert bench.run().exit_code == exit_codes.NOT_EXECUTABLE


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"token": None},
        {"job": "x"},
        {"steps": []},
        {"steps": [{"command": []}]},
        {"steps": "x"},
        {"output": {"file": "../x", "lfn": "/a", "count": "lines"}},
        {"stage_out": []},
        {"stage_out": [{"kind": "x"}]},
        {"output": {"file": "x", "lfn": "/a/../b", "count": "lines"}},
        {"inputs": [{"lfn": "/a"}]},
        {"limits": [1]},
        {"output": {"file": "x", "lfn": "/a", "count": "guess"}},
    ],
)
def test_a_bad_specification_is_said(bench: Any, change: dict[str, Any]) -> None:
    bench.spec.update(change)
    report = bench.run()
    assert report.exit_code == exit_codes.SPEC_INVALID
    assert "expected" in report.errors[0].text or "nothing to do" in report.errors[0].text


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\x00"])
def test_an_unreadable_specification_is_said(bench: Any, text: str) -> None:
    (bench.directory / "spec.json").write_text(text)
    bench.start = lambda start=bench.start: _keeping(bench, text, start)
    assert bench.run().exit_code == exit_codes.SPEC_INVALID


def _keeping(bench: Any, text: str, start: Any) -> Any:
    keep, bench.spec = bench.spec, None
    original = json.dumps
    try:
        json.dumps = lambda _: text  # type: ignore[assignment]
        return start()
    finally:
        json.dumps, bench.spec = original, keep


@pytest.mark.feature("PA-319")
def test_it_is_found_again_by_a_relative_name_after_the_job_has_changed_the_directory(bench: Any) -> None:
    """Before Python 3.9 that name stands in sys.path; runpy puts it there still."""
    runtime, job = bench.runtime.relative_to(bench.outside), bench.directory.name
    (bench.directory / "spec.json").write_text(json.dumps(bench.spec))
    begin = f"import runpy, sys; sys.argv[1:] = ['run', '{job}']; runpy.run_path('{runtime}', run_name='__main__')"
    assert subprocess.run([bench.python, "-c", begin], check=False, cwd=bench.outside).returncode == 0
    assert bench.report().exit_code == 0


@pytest.mark.feature("PA-320")
def test_the_wall_limit_is_soft_first(any_bench: Any) -> None:
    any_bench.spec["limits"] = {"wall_s": 0.5, "grace_s": 20}
    any_bench.shell("trap 'echo late > events.txt; exit 0' USR2; sleep 30 & wait")
    report = any_bench.run()
    assert report.exit_code == 0
    assert any_bench.published.read_text() == "late\n"


@pytest.mark.feature("PA-320")
def test_the_wall_limit_is_hard_at_last(any_bench: Any) -> None:
    any_bench.spec["limits"] = {"wall_s": 0.3, "grace_s": 0.3}
    any_bench.shell("trap '' USR2; while :; do sleep 1; done")
    report = any_bench.run()
    assert (report.exit_code, report.steps[0].signal) == (exit_codes.WALL_TIME, 9)


@pytest.mark.feature("PA-320")
def test_the_memory_limit_counts_the_whole_group(bench: Any) -> None:
    bench.spec["limits"] = {"wall_s": 30, "memory_mb": 60, "sample_s": 0.5}
    bench.shell(f"{bench.python} -c 'x = b\"x\" * 90000000; import time; time.sleep(20)' & wait")
    report = bench.run()
    assert report.exit_code == exit_codes.MEMORY
    assert "60 allowed" in report.errors[0].text


def test_nothing_of_the_process_group_stays_behind(bench: Any) -> None:
    bench.shell("sleep 600 & echo $! > pid; echo a > events.txt")
    bench.run()
    pid = int((bench.directory / "work" / "pid").read_text())
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])  # the second is what Grid Engine warns by
def test_a_runtime_that_is_told_to_stop_still_reports(any_bench: Any, number: signal.Signals) -> None:
    any_bench.shell("echo started; touch ../started; sleep 600")
    with any_bench.start() as process:
        deadline = time.monotonic() + 10
        while not (any_bench.directory / "started").exists() and time.monotonic() < deadline:
            os.sched_yield()
        process.send_signal(number)
        process.communicate(timeout=10)
    report = any_bench.report()
    assert (process.returncode, report.exit_code) == (128 + number, 128 + number)
    assert report.errors[0].log == "started\n"


def test_every_bad_input_is_named(any_bench: Any, tmp_path: Path) -> None:
    inputs = [an_input(tmp_path / f"in{number}", b"abc\n" * 10, 10) for number in range(5)]
    (tmp_path / "in1").unlink()
    (tmp_path / "in2").write_bytes(b"abc\n" * 9)
    (tmp_path / "in3").write_bytes(b"abd\n" * 10)
    any_bench.spec.update(type="merge", inputs=inputs, steps=[], concatenate=True)
    any_bench.spec["output"]["count"] = "inputs"
    report = any_bench.run()
    assert report.exit_code == exit_codes.INPUT_UNREADABLE
    assert [entry.ok for entry in report.inputs] == [True, False, False, False, True]
    assert all(entry.problem for entry in report.inputs if not entry.ok)
    assert not any_bench.published.exists()


def test_a_merge_without_command_puts_the_inputs_together(any_bench: Any, tmp_path: Path) -> None:
    any_bench.spec["inputs"] = [an_input(tmp_path / f"in{number}", b"%d\n" % number * 3, 3) for number in range(4)]
    any_bench.spec.update(type="merge", steps=[], concatenate=True)
    any_bench.spec["output"]["count"] = "inputs"
    report = any_bench.run()
    assert report.outputs[0].events == 12
    assert any_bench.published.read_bytes() == b"".join(b"%d\n" % number * 3 for number in range(4))


def test_a_merge_that_loses_events_is_refused(bench: Any, tmp_path: Path) -> None:
    bench.spec["inputs"] = [an_input(tmp_path / f"in{number}", b"1\n2\n", 2) for number in range(3)]
    command = ["sh", "-c", 'cp "$1" events.txt', "-", "{inputs}"]
    bench.spec.update(type="merge", steps=[{"name": "merge", "command": command}])
    report = bench.run()
    assert report.exit_code == exit_codes.EVENTS_DIFFER
    assert "6 events in the inputs, 2 in the output" in report.errors[0].text
    assert not bench.published.exists()


@pytest.mark.feature("PA-508")
@pytest.mark.parametrize("count", ["lines", "inputs", "reported"])
@pytest.mark.parametrize("told", ["$2", "/store/in1"], ids=["path", "LFN"])
def test_an_input_that_a_merge_left_out_is_named_as_bad_and_nothing_is_published(
    any_bench: Any, tmp_path: Path, told: str, count: str
) -> None:
    inputs = [an_input(tmp_path / f"in{number}", b"1\n2\n", 2) for number in range(3)]
    any_bench.spec["inputs"] = [{**entry, "lfn": f"/store/in{place}"} for place, entry in enumerate(inputs)]
    script = f'cat "$1" "$3" > events.txt; echo "{{\\"events\\": 4, \\"skipped_files\\": [\\"{told}\\"]}}" > $PRODAGENT_COUNTS'
    any_bench.spec.update(type="merge", steps=[{"name": "merge", "command": ["sh", "-c", script, "-", "{inputs}"]}])
    any_bench.spec["output"]["count"] = count
    report = any_bench.run()
    assert report.exit_code == exit_codes.INPUT_UNREADABLE
    assert "1 of 3 inputs left out by the payload: /store/in1" in report.errors[0].text
    assert [entry.ok for entry in report.inputs] == [True, False, True]
    assert report.outputs == []
    assert not any_bench.published.exists()


@pytest.mark.parametrize(
    ("said", "code"),
    [('{"events": 41}', 0), ('{"events": -1}', 90003), ("{}", 90003), ("", 90003), ('{"events": "3"}', 90003)],
)
def test_the_payload_may_report_its_events(bench: Any, said: str, code: int) -> None:
    bench.spec["output"]["count"] = "reported"
    bench.shell(f"echo binary > events.txt; echo '{said}' > $PRODAGENT_COUNTS")
    report = bench.run()
    assert report.exit_code == code
    assert [output.events for output in report.outputs] == ([] if code else [41])


def test_an_output_that_is_not_there_is_said(bench: Any) -> None:
    bench.shell("true")
    assert bench.run().exit_code == exit_codes.OUTPUT_MISSING


def test_a_large_output_takes_its_merged_name(bench: Any) -> None:
    bench.spec["output"].update(merged_lfn="/store/merged/x", merged_from_bytes=6)
    assert bench.run().outputs[0].lfn == "/store/merged/x"


def test_a_job_without_output_leaves_none(bench: Any) -> None:
    bench.spec["output"] = None
    assert bench.run().outputs == []

"""What runs in a job besides one program: chains, control points, hooks, and what is kept afterwards."""

import json
import os
import signal
import tarfile
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from domain import exit_codes
from domain.report import Heartbeat, decode_report
from runtime.process import kill_session


def until(happened: Any, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        os.sched_yield()
    assert happened()


@pytest.mark.feature("PA-121")
def test_a_later_step_reads_the_output_of_an_earlier_one_and_intermediates_go(any_bench: Any) -> None:
    any_bench.shell("printf 'a\\nb\\n' > gen.txt", "sed s/a/c/ {previous} > events.txt", "test ! -e gen.txt")
    any_bench.spec["steps"][0]["output"] = "gen.txt"
    any_bench.spec["steps"][1]["drop"] = ["gen.txt"]
    assert any_bench.run().exit_code == 0
    assert any_bench.published.read_text() == "c\nb\n"


@pytest.mark.feature("PA-319")
def test_a_step_that_failed_is_tried_again_by_its_control_point(any_bench: Any) -> None:
    any_bench.shell("echo x >> tries; test $(wc -l < tries) = 3 && cp tries events.txt || exit 9")
    again = {"if": {"all": [{"exit_code": 9}, {"counter": "n", "below": 5}]}, "count": "n", "go": "step1"}
    any_bench.spec["steps"][0]["then"] = [again]
    report = any_bench.run()
    assert [step.exit_code for step in report.steps] == [9, 9, 0]
    assert report.outputs[0].events == 3


@pytest.mark.feature("PA-319")
def test_a_control_point_that_fails_the_job_has_its_own_code(bench: Any) -> None:
    bench.spec["steps"][0]["then"] = [{"if": {"not": {"file_exists": "wanted"}}, "go": "fail"}]
    report = bench.run()
    assert report.exit_code == exit_codes.CONTROL_POINT
    assert "after step1" in report.errors[0].text


@pytest.mark.feature("PA-123")
def test_hooks_run_around_the_task_and_around_each_step(any_bench: Any) -> None:
    say = '#!/bin/sh\necho "$0 $1" | sed "s|.*/||" >> order\n'
    any_bench.spec["hooks"] = {
        "pre_task": "pre.sh",
        "pre_step": "before.sh",
        "post_step": "after.sh",
        "post_task": "post.sh",
    }
    any_bench.shell("echo one >> order; cp order events.txt", "echo two >> order; cp order events.txt")
    any_bench.spec["sandbox"] = any_bench.sandbox(pre_sh=say, post_sh=say, before_sh=say, after_sh=say, mode=0o755)
    report = any_bench.run()
    assert report.exit_code == 0
    order = (any_bench.directory / "work" / "order").read_text().splitlines()
    assert [line.split()[0] for line in order] == [
        "pre.sh",
        "before.sh",
        "one",
        "after.sh",
        "before.sh",
        "two",
        "after.sh",
        "post.sh",
    ]
    assert order[1] == "before.sh step1"


@pytest.mark.feature("PA-123")
@pytest.mark.parametrize(("mode", "text"), [(0o644, "not executable"), (None, "not in the sandbox")])
def test_a_hook_that_cannot_run_fails_the_job_before_its_payload(bench: Any, mode: int | None, text: str) -> None:
    name = "pre_sh" if mode else "other_sh"
    bench.spec["sandbox"] = bench.sandbox(mode=mode or 0o755, **{name: "#!/bin/sh\n"})
    bench.spec["hooks"] = {"pre_task": "pre.sh"}
    bench.shell("touch ../ran")
    report = bench.run()
    assert report.exit_code == exit_codes.HOOK_UNUSABLE
    assert text in report.errors[0].text
    assert not (bench.directory / "ran").exists()


@pytest.mark.feature("PA-320")
def test_the_disk_limit_counts_what_is_below_the_working_directory(bench: Any) -> None:
    bench.spec["limits"] = {"wall_s": 60, "disk_mb": 5, "sample_s": 0.5}
    bench.shell("mkdir deep; head -c 20000000 /dev/zero > deep/large; sleep 30")
    report = bench.run()
    assert report.exit_code == exit_codes.DISK
    assert "disk limit" in report.errors[0].text
    assert "5 allowed" in report.errors[0].text


@pytest.mark.feature("PA-320")
def test_memory_that_processes_share_counts_once(bench: Any) -> None:
    make = "x = bytearray(60_000_000); import os, time; [os.fork() for _ in range(2)]; time.sleep(2)"
    bench.spec["limits"] = {"wall_s": 60, "memory_mb": 150, "sample_s": 0.2}
    bench.spec["steps"] = [{"name": "share", "command": [bench.python, "-c", make]}]
    bench.spec["output"] = None
    if not os.path.exists("/proc/self/smaps_rollup") and not os.path.exists("/proc/self/smaps"):
        bench.spec["limits"]["memory_mb"] = 400
    assert bench.run().exit_code == 0


@pytest.mark.feature("PA-320")
@pytest.mark.parametrize("wrapper", ["timeout 60", "setsid -w", "setsid"])
def test_who_leaves_the_process_group_does_not_leave_the_limits(any_bench: Any, wrapper: str) -> None:
    take = "import signal, time; x = bytearray(b'a' * 200_000_000); time.sleep(60)"
    any_bench.spec["limits"] = {"wall_s": 60, "memory_mb": 100, "sample_s": 0.2}
    any_bench.spec["output"] = None
    any_bench.shell(f'{wrapper} {any_bench.python} -c "{take}"; sleep 60')
    report = any_bench.run()
    assert report.exit_code == exit_codes.MEMORY
    assert report.resources.wall_s < 20


@pytest.mark.feature("PA-320")
def test_who_leaves_the_process_group_is_told_softly_too(bench: Any) -> None:
    """A shell with job control gives each command a group of its own; a session of its own is left alone, as a pilot's jobs are."""
    bench.spec["limits"] = {"wall_s": 1, "grace_s": 20}
    bench.shell(
        "trap : USR2; set -m; (trap 'echo told >> events.txt; exit 0' USR2; sleep 30 & wait) & "
        "setsid sh -c 'trap \"echo apart >> events.txt\" USR2; until [ -s events.txt ]; do sleep 0.1; done; sleep 0.3' & "
        "wait %1; wait %1; wait %2"
    )
    assert bench.run().exit_code == 0
    assert bench.published.read_text() == "told\n"


@pytest.mark.feature("PA-318")
def test_a_working_directory_that_vanishes_is_named(bench: Any) -> None:
    bench.shell('rm -r "$PWD"; exit 3')
    report = bench.run()
    assert report.exit_code == exit_codes.RUNTIME_FAILED
    assert report.errors[0].text == f"the working directory {bench.directory / 'work'} is gone"


@pytest.mark.feature("PA-319")
def test_descendants_in_sessions_of_their_own_do_not_stay_behind(any_bench: Any) -> None:
    any_bench.shell("setsid sh -c 'echo $$ > pid; exec sleep 600' & until [ -s pid ]; do :; done; echo a > events.txt")
    assert any_bench.run().exit_code == 0
    pid = int((any_bench.directory / "work" / "pid").read_text())
    until(lambda: not Path(f"/proc/{pid}").exists())


@pytest.mark.feature("PA-325")
def test_a_running_job_shows_its_heart(any_bench: Any) -> None:
    gate = any_bench.directory / "gate"
    any_bench.spec["heartbeat_s"] = 0.2
    any_bench.spec["limits"] = {"wall_s": 60, "memory_mb": 500, "disk_mb": 100, "sample_s": 0.2}
    any_bench.shell(f"printf 'a\\nb\\n' > events.txt; until [ -e {gate} ]; do sleep 0.05; done")
    heart = any_bench.directory / "heartbeat.json"
    with any_bench.start() as process:
        until(heart.exists)
        beat = decode_heartbeat(heart)
        gate.touch()
        process.communicate(timeout=30)
    assert (beat.step, beat.events) == ("step1", 2)
    assert beat.memory_mb > 0
    assert beat.wall_s > 0
    assert any_bench.report().outputs[0].events == 2


@pytest.mark.feature("PA-325")
def test_the_payload_may_say_how_far_it_is(bench: Any) -> None:
    gate = bench.directory / "gate"
    bench.spec["heartbeat_s"] = 0.2
    bench.spec["limits"] = {"wall_s": 60, "sample_s": 0.2}
    bench.spec["output"]["count"] = "reported"
    bench.shell(
        f"echo '{{\"events\": 41}}' > $PRODAGENT_COUNTS; until [ -e {gate} ]; do sleep 0.05; done; echo > events.txt"
    )
    heart = bench.directory / "heartbeat.json"
    with bench.start() as process:
        until(lambda: heart.exists() and decode_heartbeat(heart).events == 41)
        gate.touch()
        process.communicate(timeout=30)
    assert bench.report().exit_code == 0


def decode_heartbeat(path: Path) -> Heartbeat:
    return msgspec.json.decode(path.read_bytes(), type=Heartbeat)


@pytest.mark.feature("PA-321")
def test_a_job_that_fails_at_once_waits_before_its_slot_is_free(bench: Any) -> None:
    bench.spec["hold_failure_s"] = 1.5
    bench.shell("exit 3")
    begun = time.monotonic()
    with bench.start() as process:
        path = bench.directory / "report.json"
        until(lambda: path.exists() and decode_report(path.read_bytes()).exit_code == 3)
        assert process.poll() is None
        process.communicate(timeout=30)
    assert time.monotonic() - begun >= 1.5
    assert bench.report().exit_code == 3


@pytest.mark.feature("PA-321")
def test_a_job_that_waits_because_it_failed_can_be_ended(bench: Any) -> None:
    bench.spec["hold_failure_s"] = 600
    bench.shell("exit 3")
    with bench.start() as process:
        path = bench.directory / "report.json"
        until(lambda: path.exists() and decode_report(path.read_bytes()).exit_code == 3)
        while process.poll() is None:
            process.send_signal(signal.SIGTERM)
            os.sched_yield()
    assert bench.report().exit_code == 3


@pytest.mark.feature("PA-321")
def test_good_jobs_and_cancelled_ones_do_not_wait(bench: Any) -> None:
    bench.spec["hold_failure_s"] = 600
    assert bench.run().exit_code == 0


@pytest.mark.feature("PA-324")
@pytest.mark.parametrize("script", ["echo a > events.txt; echo hello", "echo hello; exit 5"])
def test_log_and_report_are_archived_whatever_happened(any_bench: Any, script: str) -> None:
    any_bench.spec["log_archive"] = {"lfn": "/store/logs/t1.tar.gz"}
    any_bench.shell(script)
    report = any_bench.run()
    assert report.log_archive is not None
    with tarfile.open(report.log_archive.pfn) as pack:
        assert sorted(pack.getnames()) == ["payload.log", "report.json"]
        content = pack.extractfile("payload.log")
        assert content is not None
        assert content.read() == b"hello\n"


@pytest.mark.feature("PA-324")
def test_an_archive_that_cannot_be_placed_does_not_fail_the_job(bench: Any) -> None:
    (bench.outside / "blocked").write_text("a file in place of a directory")
    rules = [{"kind": "posix", "root": str(bench.outside / "blocked")}]
    bench.spec["log_archive"] = {"lfn": "/store/logs/t1.tar.gz", "stage_out": rules}
    report = bench.run()
    assert report.exit_code == 0
    assert report.log_archive is not None
    assert "Not a directory" in report.log_archive.problem


@pytest.mark.feature("PA-322")
def test_the_output_of_a_failed_job_can_be_kept_apart(bench: Any) -> None:
    bench.spec["store_fail"] = {"lfn": "/store/failed/t1.txt"}
    bench.shell("printf 'half\\n' > events.txt; exit 5")
    report = bench.run()
    assert report.exit_code == 5
    assert report.outputs == []
    assert report.kept is not None
    assert Path(report.kept.pfn).read_text() == "half\n"
    assert not bench.published.exists()


@pytest.mark.feature("PA-318")
def test_what_the_payload_tells_of_its_output_stands_in_the_report(bench: Any) -> None:
    told = {"events": 3, "runs": [1], "lumis": {"1": [4, 5]}, "branches": ["mu"], "skipped_events": 2}
    told |= {"skipped_files": ["/store/a"], "nonsense": 1}
    bench.spec["output"]["count"] = "reported"
    bench.shell(f"echo x > events.txt; echo '{json.dumps(told)}' > $PRODAGENT_COUNTS")
    output = bench.run().outputs[0]
    assert (output.events, output.runs, output.lumis, output.branches) == (3, [1], {"1": [4, 5]}, ["mu"])
    assert (output.skipped_events, output.skipped_files) == (2, ["/store/a"])


@pytest.mark.feature("PA-318")
@pytest.mark.parametrize("bad", [{"runs": "x"}, {"lumis": [1]}, {"branches": [1]}, {"skipped_events": -1}])
def test_nonsense_that_a_payload_tells_leaves_the_report_valid(bench: Any, bad: dict[str, Any]) -> None:
    bench.spec["output"]["count"] = "reported"
    bench.shell(f"echo x > events.txt; echo '{json.dumps({'events': 3, **bad})}' > $PRODAGENT_COUNTS")
    assert bench.run().outputs[0].events == 3


@pytest.mark.feature("PA-318")
def test_letters_that_are_none_leave_the_report_valid(any_bench: Any) -> None:
    any_bench.spec["output"]["count"] = "reported"
    told = json.dumps({"events": 3, "branches": ["\udcff", "\u00fc"]})
    any_bench.shell(f"echo x > events.txt; echo '{told}' > $PRODAGENT_COUNTS")
    assert any_bench.run().outputs[0].branches == ["?", "\u00fc"]


@pytest.mark.feature("PA-318")
@pytest.mark.parametrize("step", [1, 2])
def test_a_runtime_that_is_killed_leaves_a_report_that_says_so(any_bench: Any, step: int) -> None:
    waits = "touch ../here; sleep 600"
    any_bench.shell(*(waits if step == place else "true" for place in (1, 2)))
    with any_bench.start() as process:
        until((any_bench.directory / "here").exists)
        process.kill()
        kill_session(process.pid)
        process.communicate(timeout=30)
    report = any_bench.report()
    assert report.exit_code == exit_codes.REPORT_NEVER_UPDATED
    assert (report.token, report.job) == ("t1", 17)


@pytest.mark.feature("PA-318", "PA-322")
def test_a_runtime_that_is_killed_while_it_stages_out_leaves_nothing_under_the_final_name(bench: Any) -> None:
    fifo = bench.outside / "fifo"
    os.mkfifo(fifo)
    put = ["sh", "-c", 'mkdir -p "${2%/*}"; cp "$1" "$2"; echo there > "$3"; sleep 600', "-", "{source}", "{target}"]
    rename = ["mv", "-n", "{source}", "{target}"]
    bench.spec["stage_out"] = [
        {"kind": "command", "root": str(bench.element), "put": [*put, str(fifo)], "rename": rename}
    ]
    with bench.start() as process:
        assert fifo.read_text() == "there\n"
        process.kill()
        kill_session(process.pid)
        process.communicate(timeout=30)
    assert bench.report().exit_code == exit_codes.REPORT_NEVER_UPDATED
    assert not bench.published.exists()

"""Limits are told softly first: SIGUSR2, then SIGKILL."""

import signal
from pathlib import Path

import pytest

from domain import exit_codes
from runtime import oom, process, program, watch
from runtime.payload import Payload
from runtime.problem import Problem
from runtime.watch import Heart, Watch

pytestmark = pytest.mark.feature("PA-320")


class Group:
    """A process group as the watch sees it: what it uses, and the signals that it got."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, **limits: float) -> None:
        self.memory = self.disk = 0
        self.got: list[int] = []
        self.watch = Watch({"grace_s": 300, **limits}, 0.0, [str(directory)], Heart("", 60, "", ""))
        monkeypatch.setattr(process, "memory", lambda _: self.memory * 10**6)
        monkeypatch.setattr(watch, "_taken", lambda _: self.disk * 10**6)
        for name in ("tell", "kill_group"):
            monkeypatch.setattr(process, name, lambda _, number: self.got.append(number))

    def look(self, now: float) -> None:
        self.watch.look(1, now)


def test_wall_time_kills_after_the_grace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    group = Group(monkeypatch, tmp_path, wall_s=100)
    group.look(99.0)
    assert group.got == []
    assert group.watch.pause(99.0, 30.0) == 1.0
    group.look(100.0)
    assert group.got == [signal.SIGUSR2]
    group.look(399.0)
    assert group.got == [signal.SIGUSR2]
    group.look(400.0)
    assert group.got == [signal.SIGUSR2, signal.SIGKILL]
    assert (group.watch.code, group.watch.text) == (exit_codes.WALL_TIME, "wall time limit of 100 s")


@pytest.mark.parametrize(
    ("what", "code"), [("memory", exit_codes.MEMORY), ("disk", exit_codes.DISK)], ids=["memory", "disk"]
)
def test_a_tenth_above_the_limit_is_the_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, code: int
) -> None:
    group = Group(monkeypatch, tmp_path, **{f"{what}_mb": 100})
    setattr(group, what, 100)
    group.look(1.0)
    assert group.got == []
    setattr(group, what, 105)
    group.look(2.0)
    group.look(3.0)
    assert group.got == [signal.SIGUSR2]
    setattr(group, what, 111)
    group.look(4.0)
    assert group.got == [signal.SIGUSR2, signal.SIGKILL]
    assert (group.watch.code, group.watch.text) == (code, f"{what} limit: 105 MB used, 100 allowed")


def test_who_stays_a_little_above_the_limit_is_killed_after_the_grace(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    group = Group(monkeypatch, tmp_path, memory_mb=100, grace_s=10)
    group.memory = 105
    group.look(1.0)
    group.look(11.0)
    assert group.got == [signal.SIGUSR2, signal.SIGKILL]


def test_memory_is_what_the_kernel_counts_for_a_process_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {1: 40, 2: 60}
    monkeypatch.setattr(process, "_pss", shares.get)
    stats = [process.Stat(pid, "S", 0, 9 if pid < 3 else 8, 9, 0.0, 0, 1000) for pid in (1, 2, 3)]
    monkeypatch.setattr(process, "everyone", lambda: iter(stats))
    assert process.memory(process.family(9)) == 100


def test_where_the_kernel_has_no_smaps_the_resident_size_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_pss", lambda _: None)
    stats = [process.Stat(pid, "S", 0, 9, 9, 0.0, 0, 1000) for pid in (1, 2)]
    monkeypatch.setattr(process, "everyone", lambda: iter(stats))
    assert process.memory(process.family(9)) == 2000


@pytest.mark.parametrize(
    ("group", "file"),
    [
        ("0::/slurm/job_7", "slurm/job_7/memory.events"),
        ("0::/", "memory.events"),
        ("5:devices:/x\n4:cpu,memory:/job_7\n0::/job_7", "memory/job_7/memory.oom_control"),
        ("4:memory:/of/the/host", "memory/memory.oom_control"),
    ],
)
def test_what_the_kernel_killed_for_want_of_memory_is_counted(tmp_path: Path, group: str, file: str) -> None:
    proc = tmp_path / "cgroup"
    proc.write_text(group + "\n")
    assert oom.kills(str(proc), str(tmp_path)) == 0
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text("oom_kill_disable 0\noom_kill 3\n")
    assert oom.kills(str(proc), str(tmp_path)) == 3
    assert oom.kills(str(tmp_path / "none"), str(tmp_path)) == 0


@pytest.mark.parametrize(("grown", "code"), [(1, exit_codes.MEMORY), (0, 137)])
def test_a_payload_that_the_kernel_kills_for_its_memory_has_run_out_of_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, grown: int, code: int
) -> None:
    counts = iter([5, 5 + grown])
    monkeypatch.setattr(oom, "kills", lambda: next(counts))
    monkeypatch.setattr(program, "run", lambda *_: {"name": "s", "signal": 9})
    seen = Watch({}, 0.0, [], Heart("", 60, "", ""))
    payload = Payload({"steps": [{"name": "s", "command": ["x"]}]}, str(tmp_path), "", seen, [])
    with pytest.raises(Problem) as ended:
        payload.run({}, [], "")
    assert ended.value.code == code

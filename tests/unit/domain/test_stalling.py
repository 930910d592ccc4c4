"""Which running attempts make no progress."""

import pytest

from domain.report import Heartbeat
from domain.stalling import Stalls


def beat(step: str = "payload", events: int | None = None, cpu_s: float = 0.0) -> Heartbeat:
    return Heartbeat(schema=1, at=0.0, step=step, events=events, cpu_s=cpu_s)


@pytest.mark.feature("PA-325")
def test_progress_is_events_or_else_cpu_time_or_another_step() -> None:
    stalls = Stalls()
    for at, shown in ((0.0, beat(events=1)), (100.0, beat(events=1, cpu_s=9.0))):
        stalls.see("counts", shown, at)
    for at, shown in ((0.0, beat(cpu_s=1.0)), (100.0, beat(cpu_s=2.0))):
        stalls.see("burns", shown, at)
    for at, shown in ((0.0, beat("one")), (100.0, beat("two"))):
        stalls.see("steps", shown, at)
    for at in (50.0, 100.0):
        stalls.see("mute", None, at)
    assert [(one.token, one.since, one.step) for one in stalls.stalled(60.0)] == [
        ("counts", 0.0, "payload"),
        ("mute", 50.0, ""),
    ]
    stalls.see("counts", beat(events=2), 110.0)
    stalls.forget(["mute", "nobody"])
    assert stalls.stalled(60.0) == []


@pytest.mark.feature("PA-325")
def test_each_is_looked_at_in_its_turn_and_forgotten_when_it_runs_no_more() -> None:
    stalls, running = Stalls(), {f"t{number}" for number in range(5)}
    assert [stalls.due(running, 2) for _ in range(3)] == [["t0", "t1"], ["t2", "t3"], ["t4", "t0"]]
    assert stalls.due(set(), 2) == []
    for token in running:
        stalls.see(token, beat(), 0.0)
    stalls.due({"t3"}, 2)
    assert [one.token for one in stalls.stalled(1.0)] == ["t3"]

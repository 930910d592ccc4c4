"""What goes wrong is drawn from a seed, happens in order, one thing at a time, and waits for its occasion."""

import random
from typing import Any, cast

import pytest

from services.demo.chaos import Chaos, plan
from services.demo.faults import AgentKilled, Fault
from services.demo.options import DemoError
from services.demo.scene import Scene


class _Scripted(Fault):
    what = "scripted"

    def __init__(self, moment: float, *results: bool | DemoError) -> None:
        super().__init__(moment, random.Random(1))
        self._results = list(results)

    async def inject(self, scene: Scene) -> bool:
        result = self._results.pop(0)
        if isinstance(result, DemoError):
            raise result
        self.done = "done" if result else ""
        return result


class _Stage:
    def __init__(self) -> None:
        self.said: list[str] = []

    def announce(self, text: str) -> None:
        self.said.append(text)


async def _step(chaos: Chaos, progress: float) -> list[str]:
    stage = _Stage()
    await chaos.step(cast("Any", stage), progress)
    return stage.said


def test_the_same_seed_gives_the_same_plan() -> None:
    first, again, other = (
        [(type(fault).__name__, fault.moment) for fault in plan(random.Random(seed))] for seed in (7, 7, 8)
    )
    assert first == again != other


@pytest.mark.parametrize("seed", range(50))
def test_a_plan_holds_all_faults_spread_over_the_run(seed: int) -> None:
    faults = plan(random.Random(seed))
    kills = [fault.moment for fault in faults if isinstance(fault, AgentKilled)]
    assert [0.05 <= kills[0] <= 0.2, 0.25 <= kills[1] <= 0.4, 0.45 <= kills[2] <= 0.6] == [True] * 3
    assert len({type(fault) for fault in faults}) == 5
    assert all(0 <= fault.moment < 0.8 for fault in faults)


async def test_a_fault_waits_for_its_moment() -> None:
    chaos = Chaos(1)
    chaos.faults = [_Scripted(0.5, True)]
    assert await _step(chaos, 0.4) == []
    assert not chaos.over
    assert await _step(chaos, 0.5) == ["broken on purpose: scripted: done"]
    assert chaos.over


async def test_one_thing_at_a_time() -> None:
    chaos = Chaos(1)
    chaos.faults = [_Scripted(0.1, True), _Scripted(0.2, True)]
    assert len(await _step(chaos, 1.0)) == 1
    assert len(await _step(chaos, 1.0)) == 1
    assert await _step(chaos, 1.0) == []


async def test_a_fault_without_occasion_is_tried_again_and_holds_up_nobody() -> None:
    chaos = Chaos(1)
    chaos.faults = [_Scripted(0.1, False, DemoError("away"), True), _Scripted(0.2, True)]
    assert len(await _step(chaos, 1.0)) == 1
    assert chaos.faults[1].done
    assert not await _step(chaos, 1.0)
    assert len(await _step(chaos, 1.0)) == 1
    assert chaos.over

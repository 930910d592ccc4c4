"""Who is restarted with whom, the fence between generations, restart types."""

import asyncio

import pytest

from supervisors import (
    Backoff,
    Restart,
    Strategy,
    SupervisorSpec,
)
from supervisors.testing import run_virtual
from tests.unit.supervisors.witness import Log, family, running


@pytest.mark.feature("PA-001")
@pytest.mark.parametrize("seed", range(3))
def test_start_in_order_stop_in_reverse(seed):
    async def main():
        log = Log()
        system = await running(
            SupervisorSpec("root", (family(log, "a", "b", name="g"), *family(log, "c", "d").children))
        )
        assert log.of("start") == ["a", "b", "c", "d"]
        await asyncio.gather(system.stop(), system.stop())
        assert log.of("stop") == ["d", "c", "b", "a"]
        assert await system.finished() == "stopped"

    run_virtual(main, seed=seed)


@pytest.mark.feature("PA-002")
@pytest.mark.parametrize(
    ("strategy", "restarted"),
    [
        (Strategy.ONE_FOR_ONE, ["b"]),
        (Strategy.REST_FOR_ONE, ["b", "c", "d"]),
        (Strategy.ONE_FOR_ALL, ["a", "b", "c", "d"]),
    ],
)
def test_strategies(strategy, restarted):
    async def main():
        log = Log()
        options = {"b": {"redeliver": 0}}
        system = await running(family(log, "a", "b", "c", "d", strategy=strategy, children=options))
        log.entries.clear()
        system.ref("b").tell(ValueError("crash"))
        await asyncio.sleep(1)
        assert log.of("failure") == ["b"]
        assert log.of("stop") == [name for name in reversed(restarted) if name != "b"]
        assert log.of("start") == restarted
        for name in "abcd":
            assert await system.ref(name).ask("who") == (2 if name in restarted else 1)
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-002")
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("strategy", list(Strategy))
def test_an_old_instance_never_handles_a_later_message(strategy, seed):
    async def main():
        log = Log()
        children = {"b": {"shutdown": 1.0, "handler_deadline": None}}
        system = await running(family(log, "a", "b", "c", strategy=strategy, intensity=100, children=children))
        a, b = system.ref("a"), system.ref("b")
        for number in range(5):
            b.tell(float(number % 2))
            b.tell(number)
        a.tell(ValueError("crash"))
        b.tell("stubborn")
        await asyncio.sleep(0.5)
        a.tell(ValueError("crash again"))
        await asyncio.sleep(10)
        await system.restart("b")
        assert await b.ask("who", timeout=None) == log.generations["b"]
        newest = 0
        for name, (_, number) in log.of("handled"):
            if name == "b":
                assert number >= newest, log.entries
                newest = number
        if strategy is Strategy.ONE_FOR_ALL:
            assert log.of("refused")
        await asyncio.sleep(5000)  # whoever was left behind comes to its end
        newest = max(number for name, (_, number) in log.of("handled") if name == "b")
        b.tell("latest")
        await asyncio.sleep(1)
        assert log.of("handled")[-1] == ("b", ("latest", log.generations["b"]))
        assert newest <= log.generations["b"]
        await system.stop()

    run_virtual(main, seed=seed)


@pytest.mark.feature("PA-002")
def test_siblings_lose_no_message_in_a_group_restart():
    async def main():
        log = Log()
        system = await running(family(log, "a", "b", strategy=Strategy.ONE_FOR_ALL))
        system.ref("b").tell(5.0)  # in flight when the group goes down
        for number in range(50):
            system.ref("b").tell(number)
        await asyncio.sleep(1)
        system.ref("a").tell(ValueError("crash"))
        await asyncio.sleep(60)
        handled = [message for name, (message, _) in log.of("handled") if name == "b"]
        assert [message for message in handled if isinstance(message, int)] == list(range(50))
        assert handled[:2] == [5.0, 5.0]
        assert [letter.message.args for letter in system.dead_letters] == [("crash",)]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-002")
@pytest.mark.parametrize(
    ("restart", "message", "numbers"),
    [
        (Restart.PERMANENT, "stop", 2),
        (Restart.TRANSIENT, "stop", 1),
        (Restart.TEMPORARY, "stop", 1),
        (Restart.PERMANENT, ValueError("crash"), 2),
        (Restart.TRANSIENT, ValueError("crash"), 2),
        (Restart.TEMPORARY, ValueError("crash"), 1),
    ],
)
def test_restart_types(restart, message, numbers):
    async def main():
        log = Log()
        system = await running(family(log, "a", "b", children={"a": {"restart": restart, "redeliver": 0}}))
        system.ref("a").tell(message)
        await asyncio.sleep(1)
        assert log.generations == {"a": numbers, "b": 1}
        assert system.ref("a").is_alive() == (numbers == 2)
        await system.stop()

    run_virtual(main)


def test_a_temporary_child_is_not_restarted_with_its_group():
    async def main():
        log = Log()
        options = {"b": {"restart": Restart.TEMPORARY}, "a": {"redeliver": 0}}
        system = await running(family(log, "a", "b", "c", strategy=Strategy.ONE_FOR_ALL, children=options))
        system.ref("a").tell(ValueError("crash"))
        await asyncio.sleep(1)
        assert log.generations == {"a": 2, "b": 1, "c": 2}
        await system.stop()

    run_virtual(main)


def test_no_child_outlives_its_supervisor():
    async def main():
        log = Log()
        system = await running(SupervisorSpec("root", (family(log, "a", "b", name="g"),), intensity=0))
        group = system.root.children["g"]
        group._task.cancel()  # a fault of the supervisor itself
        reason = await system.finished()
        assert "its task was cancelled" in reason
        assert not any(cell.life for cell in system.cells())

    run_virtual(main)


@pytest.mark.parametrize("by", ["restart", "remove_child"])
def test_who_went_down_with_a_child_comes_back_when_that_is_handled_by_hand(by):
    async def main():
        log = Log()
        slow = Backoff(first=100.0, jitter=0.0)
        options = {"a": {"redeliver": 0}}
        system = await running(
            family(log, "a", "b", "c", strategy=Strategy.REST_FOR_ONE, backoff=slow, children=options)
        )
        system.ref("a").tell(ValueError("crash"))
        await asyncio.sleep(1)
        assert [actor.state for actor in system.snapshot().actors[1:]] == ["backing-off"] * 3
        await getattr(system, by)("a")
        assert await system.ref("b").ask("who") == 2
        assert await system.ref("c").ask("who") == 2
        await asyncio.sleep(200)
        assert log.generations["b"] == 2
        await system.stop()

    run_virtual(main)

"""Pauses, budgets, escalation, parking; a message that keeps killing."""

import asyncio
import itertools

import pykka
import pytest

from supervisors import (
    Backoff,
    ChildSpec,
    SupervisorSpec,
)
from supervisors.testing import run_virtual
from tests.unit.supervisors.witness import QUICK, Log, Witness, family, running


@pytest.mark.feature("PA-002", "PA-012")
@pytest.mark.parametrize("redeliver", [0, 1, 3])
def test_a_message_that_keeps_killing_becomes_a_dead_letter(redeliver):
    async def main():
        log = Log()
        system = await running(family(log, "a", children={"a": {"redeliver": redeliver}}))
        ref = system.ref("a")
        ref.tell(ValueError("poison"))
        ref.tell("next")
        assert await ref.ask("who") == redeliver + 2
        (letter,) = system.dead_letters
        assert (letter.tries, letter.reason, letter.error) == (redeliver + 1, "killed-its-actor", "ValueError: poison")
        assert "on_receive" in letter.traceback
        assert [message for _, (message, _) in log.of("handled") if message == "next"] == ["next"]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_pauses_grow_and_start_over_after_a_quiet_time():
    async def main():
        log, times = Log(), []

        class Timed(Witness):
            async def on_start(self):
                times.append(self.clock.monotonic())

        tree = SupervisorSpec(
            "root", (ChildSpec("a", lambda: Timed(log), redeliver=0),), intensity=100, backoff=Backoff(jitter=0.0)
        )
        system = await running(tree)
        for _ in range(9):
            system.ref("a").tell(ValueError("crash"))
        await asyncio.sleep(200)
        pauses = [round(later - earlier, 3) for earlier, later in itertools.pairwise(times)]
        assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30]
        await asyncio.sleep(300)
        system.ref("a").tell(ValueError("crash"))
        before = system.clock.monotonic()
        await asyncio.sleep(0.1)
        assert times[-1] == before
        await system.stop()

    run_virtual(main)


def test_jitter_stays_within_a_fifth():
    backoff = Backoff()
    assert backoff.delay(1, 0.9) == 0.0
    assert backoff.delay(2, 0.0) == pytest.approx(0.4)
    assert backoff.delay(2, 1.0) == pytest.approx(0.6)
    assert backoff.delay(500, 0.5) == 30.0


@pytest.mark.feature("PA-002")
def test_five_restarts_are_survived_the_sixth_ends_the_root():
    async def main():
        log = Log()
        system = await running(family(log, "a", "b", children={"a": {"redeliver": 0}}))
        for number in range(5):
            system.ref("a").tell(ValueError(f"crash {number}"))
        assert await system.ref("a").ask("who") == 6
        assert system.snapshot().actors[0].intensity_left == 0
        await asyncio.sleep(61)
        assert system.snapshot().actors[0].intensity_left == 5
        for number in range(6):
            system.ref("a").tell(ValueError(f"crash {number}"))
        reason = await system.finished()
        assert reason == "root: more than 5 restarts in 60 s; last a: ValueError: crash 5"
        assert log.of("stop") == ["b"]
        assert not system.ref("b").is_alive()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_a_group_over_its_budget_is_restarted_by_its_parent():
    async def main():
        log = Log()
        group = family(log, "a", "b", name="group", intensity=1, children={"a": {"redeliver": 0}})
        system = await running(SupervisorSpec("root", (group, *family(log, "c").children), backoff=QUICK))
        system.ref("b").tell(1.0)
        for _ in range(2):
            system.ref("a").tell(ValueError("crash"))
        await asyncio.sleep(5)
        assert log.generations == {"a": 3, "b": 2, "c": 1}
        assert [message for name, (message, _) in log.of("handled") if name == "b"] == [1.0, 1.0]
        assert system.snapshot().actors[0].intensity_left == 4
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_an_optional_actor_is_parked_with_an_alert_and_comes_back_by_hand():
    async def main():
        log, alerts = Log(), []
        options = {"web": {"essential": False, "redeliver": 0}}
        system = await running(family(log, "core", "web", children=options))
        system.on_alert = alerts.append
        for number in range(6):
            system.ref("web").tell(ValueError(f"crash {number}"))
        await asyncio.sleep(1)
        assert [(alert.level, alert.actor) for alert in alerts] == [("critical", "web")]
        assert "crash 5" in alerts[0].text
        assert system.snapshot().actors[2].state == "parked"
        assert system.snapshot().actors[0].intensity_left == 5  # it spent its own
        system.ref("web").tell("nobody is hurt")
        assert system.dead_letters.counts["web", "parked"] == 1
        with pytest.raises(pykka.ActorDeadError, match=r"web \(urn.*\) not found: it is parked"):
            await system.ref("web").ask("who")
        await system.restart("web")
        assert await system.ref("web").ask("who") == 7
        assert log.generations["core"] == 1
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_an_optional_group_is_parked_as_a_whole():
    async def main():
        log, alerts = Log(), []
        group = family(log, "a", "b", name="g", intensity=0, essential=False, children={"a": {"redeliver": 0}})
        system = await running(SupervisorSpec("root", (group, *family(log, "c").children), backoff=QUICK))
        system.on_alert = alerts.append
        for number in range(6):
            assert [cell.life is not None for cell in system.cells()] == [True] * 3
            system.ref("a").tell(ValueError(f"crash {number}"))
            await asyncio.sleep(1)
        assert [cell.life is not None for cell in system.cells()] == [False, False, True]
        assert [actor.state for actor in system.snapshot().actors[1:4]] == ["parked"] * 3
        assert [alert.actor for alert in alerts] == ["g"]
        with pytest.raises(RuntimeError, match="'g' does not run: it is parked"):
            await system.restart("a")
        await system.restart("g")
        assert await system.ref("b").ask("who") == 7
        await system.stop()

    run_virtual(main)

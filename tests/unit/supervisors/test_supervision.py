"""Strategies, restart types, budgets, back-off, parking, escalation, the fence between generations."""

import asyncio
import itertools
from typing import ClassVar

import pykka
import pytest

from supervisors import (
    ActorSystem,
    AsyncioActor,
    Backoff,
    ChildSpec,
    Down,
    Restart,
    Strategy,
    SupervisorSpec,
    Transient,
)
from supervisors.testing import Probe, run_virtual

QUICK = Backoff(base=0.0)


class Log:
    """What happened, in order: (what, actor, generation)."""

    def __init__(self):
        self.entries = []
        self.generations = {}

    def of(self, what):
        return [name if what != "handled" else (name, more) for kind, name, more in self.entries if kind == what]


class Witness(AsyncioActor):
    """Notes its life and which instance handled what; does what a message says."""

    def __init__(self, log):
        super().__init__()
        self.journal = log
        self.number = log.generations[self.name] = log.generations.get(self.name, 0) + 1

    async def on_start(self):
        self.journal.entries.append(("start", self.name, self.number))

    async def on_stop(self):
        self.journal.entries.append(("stop", self.name, self.number))

    async def on_failure(self, exception_type, exception_value, traceback):
        self.journal.entries.append(("failure", self.name, self.number))

    async def on_receive(self, message):
        self.journal.entries.append(("handled", self.name, (message, self.number)))
        if isinstance(message, Exception):
            raise message
        if message == "stop":
            self.stop()
        if message == "stubborn":
            for _ in range(3):
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    self.journal.entries.append(("refused", self.name, self.number))
            self.journal.entries.append(("outlived", self.name, self.number))
        if isinstance(message, float):
            await asyncio.sleep(message)
        return self.number


def family(log, *names, **options):
    per_child = options.pop("children", {})
    children = tuple(ChildSpec(name, lambda: Witness(log), **per_child.get(name, {})) for name in names)
    return SupervisorSpec(options.pop("name", "root"), children, **{"backoff": QUICK, **options})


async def running(tree):
    system = ActorSystem(tree, seed=1)
    await system.start()
    return system


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


@pytest.mark.feature("PA-001")
def test_what_cannot_start_is_refused_with_the_reason():
    async def main():
        log = Log()

        class Broken(AsyncioActor):
            async def on_start(self):
                raise ValueError("no such host")

        system = ActorSystem(SupervisorSpec("root", (*family(log, "a").children, ChildSpec("broken", Broken))))
        with pytest.raises(Exception, match="broken did not start: ValueError: no such host"):
            await system.start()
        assert log.of("stop") == ["a"]
        assert "no such host" in await system.finished()

    run_virtual(main)


def test_a_factory_that_fails_is_a_failure_of_its_actor():
    async def main():
        def factory():
            raise KeyError("settings")

        system = ActorSystem(SupervisorSpec("root", (ChildSpec("broken", factory),)))
        with pytest.raises(Exception, match="KeyError: 'settings'"):
            await system.start()

    run_virtual(main)


def test_an_instance_lives_once():
    async def main():
        actor = Probe()
        system = await running(SupervisorSpec("root", (ChildSpec("a", lambda: actor, redeliver=0),), intensity=1))
        system.ref("a").stop()
        assert "earlier life" in await system.finished()

    run_virtual(main)


@pytest.mark.feature("PA-002")
def test_the_start_waits_for_the_outside_world():
    async def main():
        log, tries = Log(), []

        class Database(Witness):
            async def on_start(self):
                tries.append(self.clock.monotonic())
                if len(tries) < 12:
                    raise Transient("database away")
                await super().on_start()

        tree = SupervisorSpec("root", (ChildSpec("db", lambda: Database(log)), *family(log, "a").children))
        system = await running(tree)
        assert log.of("start") == ["db", "a"]
        assert system.clock.monotonic() > 100
        assert system.snapshot().actors[0].intensity_left == 5
        await system.stop()

    run_virtual(main)


def test_an_optional_actor_does_not_hold_up_the_start():
    async def main():
        log = Log()

        class Web(AsyncioActor):
            async def on_start(self):
                raise OSError("port taken")

        system = await running(
            SupervisorSpec("root", (ChildSpec("web", Web, essential=False), *family(log, "a").children))
        )
        assert log.of("start") == ["a"]
        await asyncio.sleep(60)
        assert system.snapshot().actors[1].state == "parked"
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003")
def test_an_overdue_handler_is_shown_cancelled_and_its_actor_restarted():
    async def main():
        log = Log()
        options = {"a": {"handler_deadline": 30.0, "redeliver": 1}}
        system = await running(family(log, "a", "b", children=options))
        system.ref("a").tell(1000.0)
        assert await system.ref("a").ask("who", timeout=None) == 3
        assert 60 <= system.clock.monotonic() < 61
        failure = system.snapshot().actors[1].last_failure
        assert failure.type == "HandlerOverdue"
        assert "await asyncio.sleep(message)" in failure.traceback
        assert [letter.tries for letter in system.dead_letters] == [2]
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003")
def test_a_handler_that_refuses_to_be_cancelled_is_left_behind():
    async def main():
        log = Log()
        options = {"a": {"handler_deadline": 10.0, "redeliver": 0, "shutdown": 2.0}}
        system = await running(family(log, "a", children=options))
        ref = system.ref("a")
        ref.tell("stubborn")
        assert await ref.ask("who", timeout=None) == 2
        assert system.clock.monotonic() == pytest.approx(12)
        await asyncio.sleep(5000)
        assert log.of("outlived") == ["a"]
        assert await ref.ask("who") == 2
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003")
def test_deadlines_by_message_type():
    async def main():
        class Patient(Probe):
            deadlines: ClassVar = {float: 500.0}

            async def on_receive(self, message):
                await asyncio.sleep(400)
                await super().on_receive(message)

        system = await running(SupervisorSpec("root", (ChildSpec("a", Patient, redeliver=0),)))
        system.ref("a").tell(1.0)
        actor = system.ref("a")._actor_weakref()
        await actor.expect(1, within=500)
        system.ref("a").tell(1)
        await asyncio.sleep(31)
        assert system.snapshot().actors[1].last_failure.type == "HandlerOverdue"
        await system.stop()

    run_virtual(main)


def test_children_come_and_go():
    async def main():
        log = Log()
        system = await running(SupervisorSpec("root", (family(log, "a", name="g"),)))
        await system.add_child("g", ChildSpec("new", lambda: Witness(log)))
        assert await system.ref("new").ask("who") == 1
        with pytest.raises(ValueError, match="duplicate name 'a'"):
            await system.add_child("root", ChildSpec("a", Probe))
        with pytest.raises(ValueError, match="'a' is an actor"):
            await system.add_child("a", ChildSpec("x", Probe))
        await system.add_child("root", family(log, "deep", name="h"))
        assert system.names() == ("a", "new", "deep")
        await system.remove_child("h")
        await system.remove_child("new")
        assert system.names() == ("a",)
        with pytest.raises(KeyError, match="did you mean 'a'"):
            system.ref("aa")
        await system.stop()

    run_virtual(main)


def test_a_child_that_cannot_start_is_not_added():
    async def main():
        class Broken(AsyncioActor):
            async def on_start(self):
                raise ValueError("bad settings")

        log = Log()
        system = await running(family(log, "a"))
        with pytest.raises(ValueError, match="bad settings"):
            await system.add_child("root", ChildSpec("broken", Broken))
        assert system.names() == ("a",)
        assert system.snapshot().actors[0].intensity_left == 5
        await system.stop()

    run_virtual(main)


def test_an_actor_may_restart_remove_and_stop_from_inside():
    async def main():
        class Operator(AsyncioActor):
            async def on_receive(self, message):
                if message == "stop":
                    await self.system.stop()
                elif message == "restart me":
                    await self.system.restart(self.name)
                else:
                    await self.system.remove_child(message)

        log = Log()
        system = await running(SupervisorSpec("root", (*family(log, "a", "b").children, ChildSpec("op", Operator))))
        system.ref("op").tell("a")
        await asyncio.sleep(1)
        assert system.names() == ("b", "op")
        system.ref("op").tell("stop")
        assert await system.finished() == "stopped"
        assert log.of("stop") == ["a", "b"]

    run_virtual(main)


def test_pause_and_resume():
    async def main():
        log = Log()
        system = await running(family(log, "a", "b"))
        system.pause("a")
        system.ref("a").tell("waits")
        await asyncio.sleep(10)
        assert system.snapshot().actors[1].state == "paused"
        assert log.of("handled") == []
        system.resume("a")
        assert await system.ref("a").ask("who") == 1
        system.pause("root")
        await asyncio.sleep(1)
        assert [actor.state for actor in system.snapshot().actors[1:]] == ["paused", "paused"]
        await system.stop()

    run_virtual(main)


def test_monitors_hear_of_the_end_even_afterwards():
    async def main():
        class Watcher(Probe):
            async def on_receive(self, message):
                if isinstance(message, str):
                    self.monitor(self.system.ref(message))
                else:
                    await super().on_receive(message)

        log = Log()
        options = {"a": {"redeliver": 0}, "b": {"restart": Restart.TRANSIENT}}
        tree = SupervisorSpec("root", (*family(log, "a", "b", children=options).children, ChildSpec("w", Watcher)))
        system = await running(tree)
        watcher = system.ref("w")._actor_weakref()
        system.ref("w").tell("a")
        system.ref("w").tell("b")
        system.ref("a").tell(ValueError("crash"))  # restarted: nobody is told
        await system.ref("b").stop()
        assert await watcher.expect(1) == [Down("b", "stopped")]
        system.ref("w").tell("b")
        assert len(await watcher.expect(2)) == 2
        await system.remove_child("a")
        assert (await watcher.expect(3))[2] == Down("a", "removed")
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


def test_timers_are_replaced_cancelled_and_die_with_their_instance():
    async def main():
        class Timed(Probe):
            async def on_receive(self, message):
                if message == "set":
                    self.after(5, "late", key="k")
                    self.after(6, "other")
                    self.after(7, "replaced", key="k")
                elif message == "cancel":
                    assert self.cancel_timer("k")
                    assert not self.cancel_timer("k")
                elif message == "crash":
                    raise ValueError(message)
                else:
                    got.append(message)

        got = []
        system = await running(SupervisorSpec("root", (ChildSpec("a", Timed, redeliver=0),)))
        ref = system.ref("a")
        ref.tell("set")
        await asyncio.sleep(10)
        assert got == ["other", "replaced"]
        ref.tell("set")
        ref.tell("cancel")
        await asyncio.sleep(10)
        assert got == ["other", "replaced", "other"]
        ref.tell("set")
        ref.tell("crash")
        await asyncio.sleep(10)
        assert len(got) == 3
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-015")
def test_ticks_go_on_when_their_handler_raises():
    async def main():
        times = []

        class Raising(AsyncioActor):
            async def on_start(self):
                self.tick("look", 10.0)

            async def on_receive(self, message):
                times.append(self.clock.monotonic())
                raise ValueError("every time")

        system = await running(SupervisorSpec("root", (ChildSpec("a", Raising),), intensity=1000))
        await asyncio.sleep(600)
        assert len(times) >= 15  # the pauses between the restarts grow to 30 s
        assert all(8.9 < later - earlier < 50 for earlier, later in itertools.pairwise(times))
        assert not system.dead_letters.total
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-015")
def test_a_new_interval_counts_from_the_next_tick():
    async def main():
        times = []

        class Ticking(AsyncioActor):
            async def on_start(self):
                self.tick("look", 100.0)

            async def on_receive(self, message):
                times.append(self.clock.monotonic())
                self.tick("look", 1.0)

        system = await running(SupervisorSpec("root", (ChildSpec("a", Ticking),)))
        await asyncio.sleep(1)
        with pytest.raises(KeyError, match="no tick 'lok'"):
            system.tick_now("a", "lok")
        (tick,) = system.snapshot().actors[1].ticks
        assert (tick.name, tick.every) == ("look", 100.0)
        await asyncio.sleep(112)
        assert 90 <= times[0] <= 110
        await asyncio.sleep(150)
        assert times[1] - times[0] >= 90  # that one was on its way already
        assert len(times) > 20
        assert all(0.9 <= later - earlier <= 1.1 for earlier, later in itertools.pairwise(times[1:]))
        await system.stop()

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


@pytest.mark.feature("PA-003", "PA-013")
@pytest.mark.parametrize("raises", [False, True])
def test_an_instance_left_behind_answers_nobody(raises):
    async def main():
        instances = []

        class Stubborn(AsyncioActor):
            async def on_receive(self, message):
                instances.append(self)
                if len(instances) > 1:
                    await asyncio.sleep(5)
                    return "fresh"
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    await asyncio.sleep(3)
                if raises:
                    raise ValueError("left behind")
                return "left behind"

        spec = ChildSpec("a", Stubborn, handler_deadline=10.0, shutdown=2.0)
        system = await running(SupervisorSpec("root", (spec,)))
        assert await system.ref("a").ask("x", timeout=None) == "fresh"
        assert system.clock.monotonic() == pytest.approx(17)
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


@pytest.mark.feature("PA-007")
def test_every_open_ask_ends_at_its_own_deadline():
    async def main():
        class Deaf(AsyncioActor):
            async def on_receive(self, message):
                await asyncio.sleep(1000)

        system = await running(SupervisorSpec("root", (ChildSpec("a", Deaf, handler_deadline=None),)))
        ended = []

        async def ask(timeout):
            with pytest.raises(pykka.Timeout):
                await system.ref("a").ask("x", timeout=timeout)
            ended.append(system.clock.monotonic())

        async with asyncio.TaskGroup() as asks:
            for timeout in (10.0, 3.0, 10.0, 10.0):  # asked at 0, 1, 2, 3
                asks.create_task(ask(timeout))
                await asyncio.sleep(1.0)
        assert ended == pytest.approx([4, 10, 12, 13], abs=0.02)
        await system.stop(drain=0)

    run_virtual(main)

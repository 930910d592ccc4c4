"""Whatever happens, in whatever order: nothing is lost, doubled or reordered, and budgets hold."""

import asyncio

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from supervisors import (
    ActorSystem,
    AsyncioActor,
    Backoff,
    ChildSpec,
    MailboxOptions,
    Priority,
    Strategy,
    SupervisorSpec,
    Transient,
)
from supervisors.testing import VirtualLoop

NAMES = ["a", "b", "c", "d"]
INTENSITY, PERIOD = 3, 30.0


class Order:
    """A message: who sent it, its number there, what it does."""

    def __init__(self, sender, number, deed):
        self.sender, self.number, self.deed = sender, number, deed

    def __repr__(self):
        return f"{self.sender}{self.number}:{self.deed}"


class Worker(AsyncioActor):
    """Does what the order says and notes it when it is done."""

    def __init__(self, machine):
        super().__init__()
        self.machine = machine
        machine.born[self.name] = self.generation = machine.born.get(self.name, 0) + 1

    async def on_receive(self, message):
        assert self.generation == self.machine.born[self.name], "an old instance got a message"
        if message.deed == "slow":
            await asyncio.sleep(2.0)
        if message.deed == "poison":
            self.machine.crashes.append(self.clock.monotonic())
            raise ValueError(str(message))
        if message.deed == "away" and message not in self.machine.returned:
            self.machine.returned.add(message)
            raise Transient("away")
        self.machine.done.setdefault(self.name, []).append(message)
        return message.number


class Tree(RuleBasedStateMachine):
    """Two groups of two actors, told, asked, crashed, restarted, paused, given time."""

    @initialize(strategy=st.sampled_from(Strategy), seed=st.integers(0, 1000))
    def build(self, strategy, seed):
        self.loop = VirtualLoop(seed)
        asyncio.set_event_loop(self.loop)
        self.born, self.done, self.crashes, self.returned = {}, {}, [], set()
        self.sent: dict[str, list[Order]] = {name: [] for name in NAMES}
        self.paused = set()
        room = MailboxOptions(capacity=10_000)
        specs = [ChildSpec(name, lambda: Worker(self), mailbox=room, redeliver=1) for name in NAMES]
        options = {"strategy": strategy, "intensity": INTENSITY, "period": PERIOD, "backoff": Backoff(cap=4.0)}
        groups = [
            SupervisorSpec("left", tuple(specs[:2]), **options),
            SupervisorSpec("right", tuple(specs[2:]), **options),
        ]
        self.system = ActorSystem(SupervisorSpec("root", tuple(groups), intensity=1000), seed=seed)
        self.run(self.system.start())

    def run(self, work):
        return self.loop.run_until_complete(work)

    @rule(
        name=st.sampled_from(NAMES),
        sender=st.sampled_from("xyz"),
        deeds=st.lists(st.sampled_from(["plain", "plain", "slow", "poison", "away"]), min_size=1, max_size=6),
        priority=st.sampled_from(Priority),
    )
    def tell(self, name, sender, deeds, priority):
        for deed in deeds:
            order = Order((sender, priority), len(self.sent[name]), deed)
            self.sent[name].append(order)
            self.system.ref(name).tell(order, priority=priority)

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 40.0]))
    def time_passes(self, seconds):
        self.run(asyncio.sleep(seconds))

    @rule(name=st.sampled_from([*NAMES, "left", "right"]))
    def restart(self, name):
        try:
            self.run(self.system.restart(name))
        except RuntimeError as error:
            if "does not run" not in str(error) and "ended before" not in str(error):
                raise  # else its group has just failed

    @rule(name=st.sampled_from(NAMES))
    def pause(self, name):
        self.system.pause(name)
        self.paused.add(name)

    @precondition(lambda self: self.paused)
    @rule()
    def resume(self):
        for name in self.paused:
            self.system.resume(name)
        self.paused.clear()

    @invariant()
    def depth_is_what_was_not_taken(self):
        for cell in self.system.cells():
            assert len(cell.mailbox) <= len(self.sent[cell.name])

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        try:
            self.resume()
            self.run(asyncio.sleep(3000))
            self.nothing_lost_doubled_or_reordered()
            self.run(self.system.stop())
            assert all(cell.life is None for cell in self.system.cells())
        finally:
            left = asyncio.all_tasks(self.loop)
            asyncio.set_event_loop(None)
            self.loop.close()
        assert not left

    def nothing_lost_doubled_or_reordered(self):
        dead = [letter.message for letter in self.system.dead_letters]
        assert len(dead) == len(set(dead))
        for name, sent in self.sent.items():
            done = self.done.get(name, [])
            assert [order for order in sent if order.deed == "poison"] == sorted(
                (order for order in dead if order in sent), key=lambda order: order.number
            )
            for lane in {order.sender for order in sent}:
                wanted = [order for order in sent if order.sender == lane and order.deed != "poison"]
                assert [order for order in done if order.sender == lane] == wanted


TestTree = pytest.mark.feature("PA-002", "PA-010", "PA-012")(Tree.TestCase)
TestTree.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=list(HealthCheck),
    database=None,
)


@pytest.mark.feature("PA-002")
@pytest.mark.parametrize("seed", range(10))
def test_more_crashes_than_the_budget_always_escalate(seed):
    async def main():
        class Fragile(AsyncioActor):
            async def on_receive(self, message):
                raise ValueError(message)

        spec = ChildSpec("a", Fragile, redeliver=0)
        system = ActorSystem(SupervisorSpec("root", (spec,), intensity=seed, period=1000.0), seed=seed)
        await system.start()
        for number in range(seed):
            system.ref("a").tell(number)
        await asyncio.sleep(500)
        assert system.snapshot().actors[1].state == "idle"
        system.ref("a").tell("one too many")
        assert "one too many" in await system.finished()

    from supervisors.testing import run_virtual

    run_virtual(main, seed=seed)

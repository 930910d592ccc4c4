"""Many messages with one look at the clock: what is counted, timed and given up must be as if each had its own."""

import asyncio

import pytest

from supervisors import ActorSystem, AsyncioActor, ChildSpec, SupervisorSpec
from supervisors.testing import Signal, run_virtual

MANY = 100


class Slow(AsyncioActor):
    """Takes as many seconds as a message says; none for 0."""

    def __init__(self, handled, seen):
        super().__init__()
        self.signal, self.seen = handled, seen

    async def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        self.seen.append(message)
        if message:
            await asyncio.sleep(message)
        self.signal.fire()


async def burst(messages, *, deadline=30.0):
    """Let one actor handle all of these, sent at once; return its snapshot, what it saw, and the dead letters."""
    handled, seen = Signal(), []
    spec = ChildSpec("slow", lambda: Slow(handled, seen), handler_deadline=deadline, redeliver=0)
    system = ActorSystem(SupervisorSpec("root", (spec,)))
    await system.start()
    for message in messages:
        system.ref("slow").tell(message)
    good = [message for message in messages if not isinstance(message, Exception) and message < deadline]
    await handled.reached(len(good), within=1e6)
    await asyncio.sleep(0)
    snapshot = system.snapshot().actors[1]
    await system.stop()
    return snapshot, seen, list(system.dead_letters)


@pytest.mark.feature("PA-003")
def test_a_handler_is_as_old_as_itself_not_as_those_before_it():
    """Two that wait 20 s each behind one another, in the midst of many: neither is overdue after 30 s."""
    messages = [0.0] * MANY
    messages[5] = messages[6] = 20.0
    snapshot, seen, dead = run_virtual(lambda: burst(messages))
    assert seen == messages
    assert (snapshot.restarts, dead) == (0, [])


@pytest.mark.feature("PA-003")
def test_one_that_is_overdue_in_the_midst_of_many_is_found():
    messages = [0.0] * MANY
    messages[5], messages[7] = 20.0, 40.0
    snapshot, seen, dead = run_virtual(lambda: burst(messages))
    assert len(seen) == MANY
    assert snapshot.restarts == 1
    assert [letter.message for letter in dead] == [40.0]
    assert "took over 30.0 s" in dead[0].error


def test_each_is_counted_whatever_ends_the_batch():
    messages = [0.0] * MANY
    messages[5], messages[40] = 3.0, ValueError("odd")
    snapshot, seen, _ = run_virtual(lambda: burst(messages))
    assert len(seen) == snapshot.handled == MANY - 1
    assert snapshot.depth == 0


def test_one_that_waits_shows_in_the_times():
    messages = [0.0] * MANY
    messages[80] = 3.0
    snapshot, _, _ = run_virtual(lambda: burst(messages))
    assert snapshot.p99 >= 0.08  # 3 s, shared with those of its batch that came before
    assert snapshot.high_water >= MANY * 8 // 9


class Echoes(AsyncioActor):
    """Sends itself a message for each that it handles."""

    async def on_receive(self, message):
        self.actor_ref.tell(message)


@pytest.mark.parametrize("depth", [1, MANY])
def test_an_actor_that_is_never_done_lets_others_run(depth):
    async def main():
        system = ActorSystem(SupervisorSpec("root", (ChildSpec("echoes", Echoes),)))
        await system.start()
        for _ in range(depth):
            system.ref("echoes").tell("again")
        for _ in range(5):
            before = system.snapshot().actors[1].handled
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert 0 < system.snapshot().actors[1].handled - before <= 1000
        await system.stop(drain=0.0)

    run_virtual(main, seed=None)

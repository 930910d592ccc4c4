"""What holds on asyncio's own loop holds on uvloop."""

import asyncio
import threading

import pytest
import uvloop

from supervisors import ActorSystem, AsyncioActor, Backoff, ChildSpec, MailboxOptions, SupervisorSpec
from supervisors.testing import Signal

ROOM = MailboxOptions(capacity=100_000)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request):
    def run(main):
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(main())

    return run


def tree(*children, **options):
    return ActorSystem(SupervisorSpec("root", children, backoff=Backoff(base=0.0), **options))


@pytest.mark.feature("PA-007")
def test_an_overdue_handler_is_cancelled_and_its_actor_restarted(run):
    async def main():
        class Hanging(AsyncioActor):
            async def on_receive(self, message):
                if message == "hang":
                    await asyncio.get_running_loop().create_future()
                return message

        system = tree(ChildSpec("a", Hanging, handler_deadline=0.05, redeliver=0))
        await system.start()
        system.ref("a").tell("hang")
        assert await system.ref("a").ask("next") == "next"
        seen = system.snapshot().actors[1]
        assert (seen.restarts, seen.last_failure.type) == (1, "HandlerOverdue")
        await system.stop()

    run(main)


@pytest.mark.feature("PA-010")
def test_each_sender_is_served_in_order_from_any_thread(run):
    async def main():
        seen, done = {}, Signal()

        class Clerk(AsyncioActor):
            async def on_receive(self, message):
                sender, number = message
                seen.setdefault(sender, []).append(number)
                if number % 7 == 0:
                    await asyncio.sleep(0)
                done.fire()

        system = tree(ChildSpec("a", Clerk, mailbox=ROOM))
        await system.start()
        ref = system.ref("a")

        def send(sender):
            for number in range(2000):
                ref.tell((sender, number))

        threads = [threading.Thread(target=send, args=(name,)) for name in "xyz"]
        for thread in threads:
            thread.start()
        for number in range(2000):
            ref.tell(("loop", number))
            if number % 50 == 0:
                await asyncio.sleep(0)
        await done.reached(8000)
        for thread in threads:
            thread.join()
        assert seen == {sender: list(range(2000)) for sender in ("x", "y", "z", "loop")}
        await system.stop()

    run(main)


@pytest.mark.feature("PA-002")
def test_an_old_instance_never_handles_a_later_message(run):
    async def main():
        born, handled = [], []
        entered, let_go = Signal(), asyncio.Event()

        class Stubborn(AsyncioActor):
            def __init__(self):
                super().__init__()
                born.append(self)

            async def on_receive(self, message):
                handled.append((born.index(self), message))
                if message == "stubborn" and self is born[0]:
                    entered.fire()
                    while not let_go.is_set():
                        try:
                            await let_go.wait()
                        except asyncio.CancelledError:
                            continue
                return message

        system = tree(ChildSpec("a", Stubborn, handler_deadline=0.05, shutdown=0.05, redeliver=1))
        await system.start()
        ref = system.ref("a")
        ref.tell("stubborn")
        await entered.reached()
        for number in range(20):
            ref.tell(number)
        assert await ref.ask("last") == "last"
        let_go.set()
        assert await ref.ask("after") == "after"
        assert handled == [(0, "stubborn"), *[(1, each) for each in ("stubborn", *range(20), "last", "after")]]
        await system.stop()

    run(main)

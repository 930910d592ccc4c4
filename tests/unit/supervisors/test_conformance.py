"""pykka's documented behaviour, from inside the loop and from other threads."""

import asyncio
import queue
import threading

import pykka
import pytest

from supervisors import AskCycle, AsyncioActor, MailboxOptions, Reply
from supervisors.testing import LoopThread, run_virtual


class Account(AsyncioActor):
    """An actor with methods and attributes for proxies."""

    def __init__(self, balance=0):
        super().__init__()
        self.balance = balance
        self.events = []

    async def on_start(self):
        self.events.append("start")

    async def on_stop(self):
        self.events.append("stop")

    def on_failure(self, exception_type, exception_value, traceback):
        self.events.append(exception_type)

    def deposit(self, amount):
        self.balance += amount
        return self.balance

    async def slow(self):
        await asyncio.sleep(0.001)
        return "slow"

    def fail(self):
        raise ValueError("no")

    async def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        if message == "block":
            return self.actor_ref.ask("x", block=True)
        if message == "get":
            return Reply().get()
        if message == "self":
            return await self.actor_ref.ask("x")
        return message


@pytest.fixture
def threaded():
    """The class, run by a loop in another thread; its calls may block."""
    with LoopThread() as loop:
        yield type("Threaded", (Account,), {"event_loop": loop})
        for ref in pykka.ActorRegistry.get_all():
            ref.stop(block=True, timeout=5)


def test_from_another_thread_asks_may_block(threaded):
    ref = threaded.start()
    assert ref.ask("x", block=True, timeout=5) == "x"
    assert ref.ask("x").get(timeout=5) == "x"
    with pytest.raises(ValueError, match="bad"):
        ref.ask(ValueError("bad"), block=True)
    assert ref.is_alive()  # whoever asks gets the exception, the actor goes on
    assert ref.stop(block=True) is True
    assert ref.stop(block=True) is False
    with pytest.raises(pykka.ActorDeadError, match="not found"):
        ref.ask("x", block=True)
    with pytest.raises(pykka.ActorDeadError, match="not found"):
        ref.tell("x")


def test_nothing_blocks_the_loop(threaded):
    ref = threaded.start()
    with pytest.raises(RuntimeError, match=r"write 'await ref.ask\(...\)' instead"):
        ref.ask("block", block=True)
    with pytest.raises(RuntimeError, match="write 'await reply' instead"):
        ref.ask("get", block=True)
    with pytest.raises(AskCycle, match="Threaded -> Threaded"):
        ref.ask("self", block=True)


def test_proxies(threaded):
    ref = threaded.start(balance=5)
    proxy = ref.proxy()
    assert proxy.balance.get(timeout=5) == 5
    assert proxy.deposit(2).get(timeout=5) == 7
    assert proxy.slow().get(timeout=5) == "slow"
    proxy.deposit.defer(1)
    assert proxy.balance.get(timeout=5) == 8
    proxy.balance = 1
    assert proxy.balance.get(timeout=5) == 1
    with pytest.raises(ValueError, match="no"):
        proxy.fail().get(timeout=5)


def test_proxies_on_the_loop():
    async def main():
        proxy = Account.start(balance=5).proxy()
        assert await proxy.balance == 5
        assert await proxy.deposit(2) == 7
        assert await proxy.slow() == "slow"
        with pytest.raises(RuntimeError, match="call a method instead"):
            proxy.balance = 3
        with pytest.raises(ValueError, match="no"):
            await proxy.fail()
        await proxy.actor_ref.stop()

    run_virtual(main)


def test_the_registry(threaded):
    first, second = threaded.start(), threaded.start()
    assert pykka.ActorRegistry.get_by_class(Account) == [first, second]
    assert pykka.ActorRegistry.get_by_class_name("Threaded") == [first, second]
    assert pykka.ActorRegistry.get_by_urn(first.actor_urn) is first
    pykka.ActorRegistry.broadcast(ValueError("all"), Account)
    for ref in (first, second):
        ref.actor_stopped.wait(5)
    assert pykka.ActorRegistry.get_all() == []
    threaded.start()
    assert pykka.ActorRegistry.stop_all(timeout=5) == [True]


def test_an_unhandled_exception_ends_an_actor_outside_a_tree(threaded):
    ended = threading.Event()

    class Ending(threaded):
        def on_failure(self, *failure):
            super().on_failure(*failure)
            ended.set()

    ref = Ending.start()
    actor = ref._actor_weakref()
    ref.tell(ValueError("bad"))
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("never").get(timeout=5)
    assert ended.wait(5)
    assert actor.events == ["start", ValueError]


def test_messages_from_many_threads_arrive_once_and_in_order(threaded):
    class Keeper(threaded):
        async def on_receive(self, message):
            self.events.append(message)

    ref = Keeper.start()
    ref.actor_inbox.mailbox.capacity = 10**6
    actor = ref._actor_weakref()

    def work(name):
        for number in range(500):
            ref.tell((name, number))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ref.stop(block=True, timeout=10)
    got = actor.events[1:-1]
    assert len(got) == 4000
    for name in range(8):
        assert [number for sender, number in got if sender == name] == list(range(500))


def test_deadlines_hold_off_the_loop(threaded):
    class Sleepy(threaded):
        async def on_receive(self, message):
            await asyncio.sleep(0.3)

    ref = Sleepy.start()
    with pytest.raises(pykka.Timeout):
        ref.ask("x", block=True, timeout=0.01)
    with pytest.raises(pykka.Timeout, match="no answer before the deadline"):
        ref.ask("x", timeout=0.01).get(timeout=5)


def test_start_needs_a_loop():
    with pytest.raises(RuntimeError, match="needs a running event loop"):
        Account.start()
    for ref in pykka.ActorRegistry.get_all():
        pykka.ActorRegistry.unregister(ref)


@pytest.mark.feature("PA-013")
def test_deadlines_are_inherited_and_expired_asks_are_not_handled():
    async def main():
        seen = []

        class Back(AsyncioActor):
            async def on_receive(self, message):
                seen.append((message, self.clock.monotonic()))
                await asyncio.sleep(4)

        class Front(AsyncioActor):
            async def on_receive(self, message):
                await back.ask(message, timeout=100.0)

        back, front = Back.start(), Front.start()
        back.tell("busy")
        with pytest.raises(pykka.Timeout):
            await front.ask("deep", timeout=3.0)
        assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.05)
        await asyncio.sleep(10)
        assert [message for message, _ in seen] == ["busy"]
        await front.stop()
        await back.stop()

    run_virtual(main)


@pytest.mark.feature("PA-013")
def test_a_late_reply_is_dropped_and_counted():
    async def main():
        class Late(AsyncioActor):
            async def on_receive(self, message):
                await asyncio.sleep(5)

        ref = Late.start()
        with pytest.raises(pykka.Timeout):
            await ref.ask("x", timeout=1.0)
        await asyncio.sleep(10)
        assert ref.actor_inbox.late_replies == 1
        await ref.stop()

    run_virtual(main)


def test_an_ask_to_oneself_may_be_made_but_not_awaited():
    async def main():
        class Selfish(AsyncioActor):
            async def on_receive(self, message):
                if message == "first":
                    self.later = self.actor_ref.ask("second")
                    return None
                return "done"

        ref = Selfish.start()
        await ref.ask("first")
        assert await ref._actor_weakref().later == "done"
        await ref.stop()

    run_virtual(main)


def test_replies_are_computed_from_others():
    async def main():
        one, two = Reply(), Reply()
        total = one.join(two).map(sum)
        big = one.map(range).filter(lambda item: item > 1).reduce(lambda left, right: left + right, 100)
        assert not total.done()
        one.set(4)
        two.set(5)
        assert await total == 9
        assert await big == 105
        assert total.get() == 9
        with pytest.raises(queue.Full):
            one.set(1)
        with pytest.raises(NotImplementedError):
            one.set_get_hook(lambda timeout: 1)
        failed = Reply()
        try:
            raise KeyError("x")
        except KeyError:
            failed.set_exception()
        with pytest.raises(KeyError):
            await failed.map(str)

    run_virtual(main)


def test_a_reply_wakes_every_waiter_wherever_it_is():
    async def main():
        reply = Reply()
        waiting = [asyncio.create_task(_await(reply)) for _ in range(3)]
        thread_got = []
        thread = threading.Thread(target=lambda: thread_got.append(reply.get(timeout=5)))
        thread.start()
        await asyncio.sleep(0)
        reply.set("answer")
        assert await asyncio.gather(*waiting) == ["answer"] * 3
        await asyncio.to_thread(thread.join)
        assert thread_got == ["answer"]

    asyncio.run(main())


async def _await(reply):
    return await reply


def test_a_stopped_actor_is_collected():
    import gc
    import weakref

    async def main():
        ref = Account.start()
        actor = ref._actor_weakref
        await ref.ask("x")
        await ref.stop()
        await asyncio.sleep(0.01)
        return weakref.ref(ref), actor

    ref, actor = run_virtual(main)
    gc.collect()
    assert actor() is None
    assert ref() is None


def test_room_is_bounded_outside_a_tree_too():
    assert MailboxOptions().capacity == 1000

"""Snapshots, traces, the watch on the loop, the service manager, the virtual loop itself."""

import asyncio
import socket
import threading
import time

import msgspec
import pytest

from supervisors import ActorSystem, AsyncioActor, ChildSpec, LoopWatchOptions, SupervisorSpec, SystemSnapshot
from supervisors.loop_watch import EXIT_FROZEN, LoopWatch
from supervisors.systemd import Heartbeat, Notifier
from supervisors.testing import DeadlockError, LeakError, Probe, Signal, VirtualClock, run_virtual


class Order(msgspec.Struct, frozen=True):
    number: int
    correlation: str = ""


class Clerk(AsyncioActor):
    async def on_receive(self, message):
        if isinstance(message, Exception):
            raise message
        await asyncio.sleep(2.0)
        return message


def office(**options):
    return SupervisorSpec("root", (SupervisorSpec("desk", (ChildSpec("clerk", Clerk, redeliver=0, **options),)),))


def test_a_snapshot_says_it_all():
    async def main():
        system = ActorSystem(office())
        await system.start()
        ref = system.ref("clerk")
        ref.tell(ValueError("crash"))
        for number in range(10):
            ref.tell(Order(number))
        await asyncio.sleep(5)
        snapshot = system.snapshot()
        root, desk, clerk = snapshot.actors
        assert (root.kind, root.parent, root.children, root.strategy) == ("supervisor", None, ("desk",), "one-for-one")
        assert (desk.parent, desk.intensity_left) == ("root", 4)
        assert (clerk.kind, clerk.parent, clerk.state) == ("actor", "desk", "busy")
        assert (clerk.current, clerk.current_age) == ("Order", pytest.approx(1.0))
        assert (clerk.depth, clerk.handled, clerk.high_water, clerk.capacity) == (7, 2, 11, 1000)
        assert (clerk.p50, clerk.p99) == (pytest.approx(2.0), pytest.approx(2.0))
        assert clerk.rate == pytest.approx(0.4)
        assert (clerk.restarts, clerk.last_failure.type, clerk.last_failure.text) == (1, "ValueError", "crash")
        assert "on_receive" in clerk.last_failure.traceback
        assert [(letter.actor, letter.type) for letter in snapshot.dead_letters] == [("clerk", "ValueError")]
        assert msgspec.json.decode(msgspec.json.encode(snapshot), type=SystemSnapshot) == snapshot
        await system.stop()
        assert {actor.state for actor in system.snapshot().actors} == {"stopped"}

    run_virtual(main)


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [({}, [0, 1, 2]), ({"actor": "clerk", "correlation": "b"}, [1]), ({"message_type": "Nothing"}, [])],
)
def test_traces(wanted, numbers):
    async def main():
        system = ActorSystem(office())
        await system.start()
        followed = []
        trace = system.trace(**wanted, seconds=9.0)
        trace.on_record = followed.append
        for number in range(3):
            await system.ref("clerk").ask(Order(number, "abc"[number]))
        assert [record.message[:14] for record in trace.records] == [f"Order(number={number}" for number in numbers]
        assert len(trace.records) == len(followed) == len(numbers)
        if numbers:
            assert (followed[0].actor, followed[0].type, followed[0].outcome) == ("clerk", "Order", "ok")
            assert followed[0].seconds == pytest.approx(2.0)
        await asyncio.sleep(5)
        assert not trace.active
        await system.ref("clerk").ask(Order(9, "b"))
        assert len(trace.records) == len(numbers)
        with pytest.raises(KeyError, match="did you mean 'clerk'"):
            system.trace("clark")
        await system.stop()

    run_virtual(main)


def test_a_trace_survives_a_restart_and_shows_errors():
    async def main():
        system = ActorSystem(office())
        await system.start()
        trace = system.trace("clerk")
        system.ref("clerk").tell(ValueError("crash"))
        await system.ref("clerk").ask("next")
        assert [record.outcome for record in trace.records] == ["ValueError: crash", "ok"]
        trace.stop()
        await system.stop()

    run_virtual(main)


@pytest.mark.feature("PA-003")
def test_a_blocked_loop_is_shown_and_a_frozen_one_ends_the_process():
    ended, alerts = threading.Event(), []
    codes = []

    def end_process(code):
        codes.append(code)
        ended.set()

    async def main():
        options = LoopWatchOptions(every=0.02, warn=0.01, alert=0.02, end=0.1)
        watch = LoopWatch(options, alerts.append, end_process=end_process)
        watch.start()
        ended.wait(5)  # freezes this loop
        await asyncio.sleep(0.05)
        watch.stop()
        assert watch.lag_max > 0.05

    asyncio.run(main())
    assert codes == [EXIT_FROZEN]
    assert "ended.wait(5)" in alerts[0]


@pytest.mark.feature("PA-003")
def test_the_system_runs_the_watch_when_asked():
    async def main():
        system = ActorSystem(office(), loop_watch=LoopWatchOptions(every=0.01))
        await system.start()
        assert system.snapshot().loop_lag >= 0.0
        assert any(thread.name == "loop watch" for thread in threading.enumerate())
        await system.stop()

    asyncio.run(main())


@pytest.mark.feature("PA-004")
def test_the_service_manager_hears_of_it(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)

        def heard():
            return manager.recv(1000).decode()

        async def main():
            silent = []
            heart = Heartbeat(Notifier(str(tmp_path / "notify")), lambda: silent)
            heart.start()
            assert [heard(), heard()] == ["READY=1", "WATCHDOG=1"]
            await asyncio.sleep(5.1)
            assert heard() == "WATCHDOG=1"
            silent.append("database")
            await asyncio.sleep(5.1)
            assert heard() == "STATUS=no beat of: database"
            heart.stop()
            assert heard() == "STOPPING=1"

        run_virtual(main)
    assert not Notifier("").send("READY=1")
    assert not Notifier(str(tmp_path / "notify")).send("READY=1")


@pytest.mark.feature("PA-004")
def test_ready_is_said_when_all_are(tmp_path, monkeypatch):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        async def main():
            system = ActorSystem(office(), notify=True)
            await system.start()
            assert system.silent() == []
            await system.stop()
            assert system.silent() == ["root"]

        run_virtual(main)
        assert [manager.recv(1000) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_virtual_time_costs_nothing_and_follows_the_seed():
    async def main():
        clock, order = VirtualClock(), []

        async def worker(name):
            for _ in range(3):
                order.append(name)
                await asyncio.sleep(0)

        await asyncio.gather(*[worker(name) for name in "abcdef"])
        await asyncio.sleep(86_400 * 365)
        assert clock.monotonic() == pytest.approx(86_400 * 365)
        return "".join(order)

    began = time.monotonic()
    assert run_virtual(main, seed=1) == run_virtual(main, seed=1)
    assert len({run_virtual(main, seed=seed) for seed in range(10)}) == 10
    assert run_virtual(main, seed=None) == "abcdef" * 3
    assert time.monotonic() - began < 5


def test_threads_are_waited_for():
    async def main():
        signal, slow = Signal(), threading.Event()
        timer = asyncio.get_running_loop().call_later(1000, signal.fire)
        asyncio.get_running_loop().call_later(0, slow.set)
        assert await asyncio.to_thread(slow.wait, 5)
        assert not signal.count  # the time stood still
        timer.cancel()

    run_virtual(main)


def test_a_database_thread_is_waited_for(tmp_path):
    aiosqlite = pytest.importorskip("aiosqlite")

    async def main():
        async with asyncio.timeout(1.0), aiosqlite.connect(tmp_path / "x.db") as database:
            await database.execute("CREATE TABLE t (n INTEGER)")
            for number in range(20):
                await database.execute("INSERT INTO t VALUES (?)", (number,))
                await database.commit()
        assert asyncio.get_running_loop().time() < 1.0

    run_virtual(main)


def test_waiting_for_ever_and_leaving_tasks_are_errors():
    async def forever():
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError, match=r"await asyncio\.get_running_loop"):
        run_virtual(forever)

    async def leaves():
        leaves.task = asyncio.create_task(asyncio.sleep(1), name="left over")

    with pytest.raises(LeakError, match="left over"):
        run_virtual(leaves)


def test_a_probe_says_what_it_missed():
    async def main():
        ref = Probe.start()
        with pytest.raises(AssertionError, match="happened 0 times in 3 s, expected 1"):
            await ref._actor_weakref().expect(1, within=3)
        await ref.stop()

    run_virtual(main)

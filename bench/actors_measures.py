"""What is measured of actors that live in memory: tell, ask, ring, spawn, memory, crash and restart."""

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import Any

import pykka

from bench.actors_peers import RING, Core, Handle, Threads, ThreadWorker
from supervisors import ActorSystem, AsyncioActor, Backoff, ChildSpec, SupervisorSpec


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the CPU seconds of some work of this process, garbage collector off."""
    gc.collect()
    gc.disable()
    begin = time.process_time()
    await work()
    spent = time.process_time() - begin
    gc.enable()
    return spent


async def echo(message: Any) -> Any:
    """Answer with the message."""
    return message


def plain_echo(message: Any) -> Any:
    """Answer with the message, as a plain function."""
    return message


async def tell(kind: type[Core], count: int) -> float:
    """Send `count` messages one way, wait until all are handled; CPU seconds per message."""
    core, done, seen = kind(), asyncio.Event(), 0

    async def handle(_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    def plain(_: Any) -> None:  # the same body: a call more would be measured too
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    made = core.make(plain if kind.plain else handle)
    await core.start()
    target = core.address(made)
    await asyncio.sleep(0)

    async def work() -> None:
        send = core.tell
        for number in range(count):
            send(target, number)
        await done.wait()

    spent = await timed(work)
    await core.close()
    return spent / count


async def ask(kind: type[Core], count: int) -> float:
    """Ask `count` times, one after another; CPU seconds per ask."""
    core = kind()
    made = core.make(plain_echo if kind.plain else echo)
    await core.start()
    target = core.address(made)

    async def work() -> None:
        for number in range(count):
            await core.ask(target, number)

    spent = await timed(work)
    await core.close()
    return spent / count


async def ring(kind: type[Core], count: int) -> float:
    """Send one message around a ring of actors; CPU seconds per hop."""
    core, done = kind(), asyncio.Event()
    members: list[Any] = []

    def member(number: int) -> Handle:
        following = (number + 1) % RING

        async def handle(hops: Any) -> None:
            if hops == 0:
                done.set()
            else:
                core.tell(members[following], hops - 1)

        def plain(hops: Any) -> None:
            if hops == 0:
                done.set()
            else:
                core.tell(members[following], hops - 1)

        return plain if kind.plain else handle

    made = [core.make(member(number)) for number in range(RING)]
    await core.start()
    members.extend(core.address(one) for one in made)
    await asyncio.sleep(0)

    async def work() -> None:
        core.tell(members[0], count)
        await done.wait()

    spent = await timed(work)
    await core.close()
    return spent / count


async def spawn(kind: type[Core], count: int) -> float:
    """Start `count` actors and get one answer of each; CPU seconds per actor."""
    core = kind()

    async def work() -> None:
        made = [core.make(plain_echo if kind.plain else echo) for _ in range(count)]
        await core.start()
        await asyncio.gather(*[core.ask(core.address(one), 1) for one in made])

    spent = await timed(work)
    await core.close()
    return spent / count


async def memory(kind: type[Core], count: int) -> float:
    """Return the bytes that one idle actor holds."""
    core = kind()
    gc.collect()
    tracemalloc.start()
    made = [core.make(plain_echo if kind.plain else echo) for _ in range(count)]
    await core.start()
    for one in made:
        await core.ask(core.address(one), 1)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    await core.close()
    return held


class Fragile(AsyncioActor):
    """Crashes at any message that is true."""

    async def on_receive(self, message: Any) -> Any:
        """Crash or answer."""
        if message:
            raise ValueError("crash")


async def restart(count: int) -> float:
    """Crash one actor again and again; CPU seconds from the crash to the answer of the next instance."""
    spec = ChildSpec("fragile", Fragile, redeliver=0)
    system = ActorSystem(SupervisorSpec("root", (spec,), intensity=10**9, backoff=Backoff(base=0.0)))
    await system.start()
    ref = system.ref("fragile")

    async def work() -> None:
        for _ in range(count):
            ref.tell(True)
            await ref.ask(False)

    spent = await timed(work)
    await system.stop()
    return spent / count


def threads(measure: str, count: int) -> float:
    """Measure pykka's own actors on the main thread; CPU seconds of the process per operation."""
    bench = Threads(count)
    if measure == "ring":
        bench.refs.extend(ThreadWorker.start(bench.hop(number)) for number in range(RING))
    gc.collect()
    begin = time.process_time()
    getattr(bench, measure)()
    spent = time.process_time() - begin
    pykka.ActorRegistry.stop_all()
    return spent / count


MEASURES: dict[str, tuple[Callable[[type[Core], int], Awaitable[float]], int]] = {
    "tell": (tell, 200_000),
    "ask": (ask, 30_000),
    "ring": (ring, 100_000),
    "spawn": (spawn, 10_000),
}
"""Name: the measure and its full number of operations."""

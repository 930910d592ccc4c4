"""Measures the actor core against a raw asyncio.Queue with a task, pykka's threads, and mindmesh where installed.

    python bench/actors.py [--repeats 5] [--scale 1.0] [--json FILE]

CPU time of this process, minimum of the repeats, garbage collector off while measuring. Figures are microseconds per
operation; the ratio is the raw queue's figure divided by it, so above 1 is faster than raw.
"""

import argparse
import asyncio
import gc
import json
import logging
import platform
import sys
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pykka

from actors.opening import open_world
from actors.stage import Effect, Stage
from backends.opening import settings_of
from config.loader import Loaded, load
from domain.events import WorkflowsPaused, WorkflowsResumed
from storage.log import Logged
from storage.transaction import Tx
from supervisors import ActorSystem, AsyncioActor, Backoff, ChildSpec, MailboxOptions, SupervisorSpec

RING = 100
DURABLE = "durable path: fact committed, followed with a cursor, effect committed"
ROOM = MailboxOptions(capacity=10**9)


class Raw:
    """A task that reads an asyncio.Queue."""

    name = "raw asyncio.Queue + task"

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def make(self, handle: Callable[[Any], Awaitable[Any]]) -> "asyncio.Queue[Any]":
        """Start one actor."""
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def run() -> None:
            while True:
                message, future = await queue.get()
                result = await handle(message)
                if future is not None:
                    future.set_result(result)

        self.tasks.append(asyncio.get_running_loop().create_task(run()))
        return queue

    @staticmethod
    def tell(queue: "asyncio.Queue[Any]", message: Any) -> None:
        """Send one way."""
        queue.put_nowait((message, None))

    @staticmethod
    async def ask(queue: "asyncio.Queue[Any]", message: Any) -> Any:
        """Send and wait."""
        future = asyncio.get_running_loop().create_future()
        queue.put_nowait((message, future))
        return await future

    async def close(self) -> None:
        """End all."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class Worker(AsyncioActor):
    """An actor around a function."""

    def __init__(self, handle: Callable[[Any], Awaitable[Any]]) -> None:
        super().__init__()
        self.on_receive = handle  # type: ignore[method-assign]


class Core:
    """Our actors, outside a tree."""

    name = "supervisors.AsyncioActor"

    def __init__(self) -> None:
        self.refs: list[Any] = []

    def make(self, handle: Callable[[Any], Awaitable[Any]]) -> Any:
        """Start one actor."""
        ref = Worker.start(handle)
        ref.actor_inbox.mailbox.capacity = ROOM.capacity
        self.refs.append(ref)
        return ref

    @staticmethod
    def tell(ref: Any, message: Any) -> None:
        """Send one way."""
        ref.tell(message)

    @staticmethod
    async def ask(ref: Any, message: Any) -> Any:
        """Send and wait."""
        return await ref.ask(message)

    async def close(self) -> None:
        """End all, last first."""
        for ref in self.refs:
            ref.stop()
        await asyncio.gather(*[_stopped(ref) for ref in self.refs[-1:]])
        await asyncio.sleep(0.01)


async def _stopped(ref: Any) -> None:
    await ref.stop()


class Supervised(Core):
    """Our actors under a supervisor, with handler deadlines."""

    name = "supervisors, in a tree"

    def __init__(self) -> None:
        super().__init__()
        self.system: ActorSystem | None = None
        self.specs: list[ChildSpec] = []

    def make(self, handle: Callable[[Any], Awaitable[Any]]) -> Any:
        """Declare one actor; it runs after start()."""
        name = f"actor-{len(self.specs)}"
        self.specs.append(ChildSpec(name, lambda: Worker(handle), mailbox=ROOM))
        return _Later(self, name)

    async def start(self) -> None:
        """Start the tree."""
        self.system = ActorSystem(SupervisorSpec("root", tuple(self.specs)))
        await self.system.start()

    async def close(self) -> None:
        """Stop the tree."""
        if self.system is not None:
            await self.system.stop()


class _Later:
    __slots__ = ("_ref", "core", "name")

    def __init__(self, core: Supervised, name: str) -> None:
        self.core, self.name = core, name
        self._ref: Any = None

    @property
    def ref(self) -> Any:
        if self._ref is None:
            assert self.core.system is not None
            self._ref = self.core.system.ref(self.name)
        return self._ref


class ThreadWorker(pykka.ThreadingActor):
    """pykka's own actor around a function."""

    use_daemon_thread = True

    def __init__(self, handle: Callable[[Any], Any]) -> None:
        super().__init__()
        self.handle = handle

    def on_receive(self, message: Any) -> Any:
        """Call the function."""
        return self.handle(message)


try:
    import mindmesh
except ImportError:
    mindmesh = None
else:

    class Question(mindmesh.Request[Any]):
        """What mindmesh wants an ask to be."""

    class MindmeshWorker(mindmesh.BaseActor):
        """An actor around a function."""

        def __init__(self, hive: Any, actor_id: str, handle: Callable[[Any], Awaitable[Any]]) -> None:
            super().__init__(hive, actor_id)
            self.on_message = handle


class Mindmesh:
    """mindmesh, an actor library for asyncio."""

    name = "mindmesh"

    def __init__(self) -> None:
        self.hive = mindmesh.ActorHive()

    def make(self, handle: Callable[[Any], Awaitable[Any]]) -> Any:
        """Start one actor."""
        return self.hive.start_actor(MindmeshWorker, handle)

    @staticmethod
    def tell(address: Any, message: Any) -> None:
        """Send one way."""
        address.tell(message)

    @staticmethod
    async def ask(address: Any, _: Any) -> Any:
        """Send and wait."""
        return await address.ask(Question())

    async def close(self) -> None:
        """End all."""
        await self.hive.shutdown()


# measures


def cpu(work: Callable[[], Any]) -> float:
    """Return the CPU seconds of some work."""
    gc.collect()
    gc.disable()
    begin = time.process_time()
    work()
    spent = time.process_time() - begin
    gc.enable()
    return spent


async def timed(work: Callable[[], Awaitable[Any]]) -> float:
    """Return the CPU seconds of some awaited work."""
    gc.collect()
    gc.disable()
    begin = time.process_time()
    await work()
    spent = time.process_time() - begin
    gc.enable()
    return spent


async def started(core: Any) -> None:
    """Start those that start as a whole."""
    if isinstance(core, Supervised):
        await core.start()


def direct(target: Any) -> Any:
    """Return the address behind a late one."""
    return target.ref if isinstance(target, _Later) else target


async def tell(kind: Any, count: int) -> float:
    """Send `count` messages one way, wait until all are handled."""
    core, done, seen = kind(), asyncio.Event(), 0

    async def handle(_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set()

    target = core.make(handle)
    await started(core)
    target = direct(target)
    await asyncio.sleep(0)

    async def work() -> None:
        send = core.tell
        for number in range(count):
            send(target, number)
        await done.wait()

    spent = await timed(work)
    await core.close()
    return spent / count


async def ask(kind: Any, count: int) -> float:
    """Ask `count` times, one after another."""
    core = kind()

    async def handle(message: Any) -> Any:
        return message

    target = core.make(handle)
    await started(core)
    target = direct(target)

    async def work() -> None:
        for number in range(count):
            await core.ask(target, number)

    spent = await timed(work)
    await core.close()
    return spent / count


async def ring(kind: Any, count: int) -> float:
    """Send one message around a ring of actors."""
    core, done = kind(), asyncio.Event()
    members: list[Any] = []

    def member(number: int) -> Callable[[Any], Awaitable[None]]:
        following = (number + 1) % RING

        async def handle(hops: Any) -> None:
            if hops == 0:
                done.set()
            else:
                core.tell(members[following], hops - 1)

        return handle

    members.extend(core.make(member(number)) for number in range(RING))
    await started(core)
    members[:] = [direct(one) for one in members]
    await asyncio.sleep(0)

    async def work() -> None:
        core.tell(members[0], count)
        await done.wait()

    spent = await timed(work)
    await core.close()
    return spent / count


async def spawn(kind: Any, count: int) -> float:
    """Start `count` actors and get one answer of each."""
    core = kind()

    async def handle(message: Any) -> Any:
        return message

    async def work() -> None:
        targets = [core.make(handle) for _ in range(count)]
        await started(core)
        await asyncio.gather(*[core.ask(direct(target), 1) for target in targets])

    spent = await timed(work)
    await core.close()
    return spent / count


async def memory(kind: Any, count: int) -> float:
    """Return the bytes that one idle actor holds."""
    core = kind()

    async def handle(message: Any) -> Any:
        return message

    gc.collect()
    tracemalloc.start()
    targets = [core.make(handle) for _ in range(count)]
    await started(core)
    for target in targets:
        await core.ask(direct(target), 1)
    gc.collect()
    held = tracemalloc.get_traced_memory()[0] / count
    tracemalloc.stop()
    await core.close()
    return held


async def restart(count: int) -> float:
    """Crash one actor again and again; a crash counts until the next instance answers."""

    class Fragile(AsyncioActor):
        async def on_receive(self, message: Any) -> Any:
            if message:
                raise ValueError("crash")

    backoff = Backoff(base=0.0)
    spec = ChildSpec("fragile", Fragile, redeliver=0)
    system = ActorSystem(SupervisorSpec("root", (spec,), intensity=10**9, backoff=backoff))
    await system.start()
    ref = system.ref("fragile")

    async def work() -> None:
        for _ in range(count):
            ref.tell(True)
            await ref.ask(False)

    spent = await timed(work)
    await system.stop()
    return spent / count


class Follower(Stage):
    """Follows facts with a cursor; each is answered by a write of its own, in one transaction with the cursor."""

    follows = (WorkflowsPaused,)
    left = 0
    done: asyncio.Event

    async def on_fact(self, logged: Logged) -> Effect:
        """Count."""
        type(self).left -= 1
        if not self.left:
            self.done.set()
        return lambda tx: tx.emit(WorkflowsResumed(ids=logged.fact.ids))


def announce(number: int, tx: Tx) -> None:
    """Write one fact."""
    tx.emit(WorkflowsPaused(ids=[number]))


def settings_in(directory: Path) -> Loaded:
    """Write and read the least that an agent needs."""
    path = directory / "agent.toml"
    site = '[sites.s.storage]\nkind = "memory"\n[sites.s.targets.t]\nkind = "simulated"\n'
    path.write_text('[agent]\nname = "bench"\n[admin]\nenabled = false\n' + site)
    return load(path, settings_of)


async def durable(count: int) -> tuple[float, float]:
    """Write facts, follow them with a cursor, write the effect of each; return CPU and wall seconds per fact."""
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        async with open_world(settings_in(Path(directory))) as world:
            Follower.left, Follower.done = count, asyncio.Event()
            system = ActorSystem(SupervisorSpec("root", (ChildSpec("follower", lambda: Follower(world)),)))
            world.store.listen(world.tell_hearers)
            await system.start()
            wall, spent = time.perf_counter(), time.process_time()
            for first in range(0, count, 100):
                numbers = range(first + 1, min(first + 100, count) + 1)
                units = [world.store.write(partial(announce, number)) for number in numbers]
                await asyncio.gather(*units)
            await Follower.done.wait()
            spent, wall = time.process_time() - spent, time.perf_counter() - wall
            await system.stop()
    return spent / count, wall / count


class Threads:
    """pykka's ThreadingActor, measured on the main thread."""

    name = "pykka.ThreadingActor"

    def __init__(self, count: int) -> None:
        self.count = count
        self.done = threading.Event()
        self.seen = 0
        self.refs = [ThreadWorker.start(self.handle)]

    def handle(self, message: Any) -> Any:
        """Count messages, answer asks."""
        self.seen += 1
        if self.seen == self.count:
            self.done.set()
        return message

    def hop(self, number: int) -> Callable[[Any], None]:
        """Return the handler of one member of the ring."""

        def handle(hops: Any) -> None:
            if hops == 0:
                self.done.set()
            else:
                self.refs[(number + 1) % RING + 1].tell(hops - 1)

        return handle

    def tell(self) -> None:
        """Send one way."""
        for number in range(self.count):
            self.refs[0].tell(number)
        self.done.wait()

    def ask(self) -> None:
        """Ask, one after another."""
        for number in range(self.count):
            self.refs[0].ask(number)

    def ring(self) -> None:
        """Send one message around."""
        self.refs[1].tell(self.count)
        self.done.wait()

    def spawn(self) -> None:
        """Start actors, get one answer of each."""
        self.refs.extend(ThreadWorker.start(self.handle) for _ in range(self.count))
        for ref in self.refs:
            ref.ask(1)


def threads(measure: str, count: int) -> float:
    """Measure pykka's own actors."""
    bench = Threads(count)
    if measure == "ring":
        bench.refs.extend(ThreadWorker.start(bench.hop(number)) for number in range(RING))
    spent = cpu(getattr(bench, measure))
    pykka.ActorRegistry.stop_all()
    return spent / count


MEASURES: dict[str, tuple[Callable[[Any, int], Any], int]] = {
    "tell": (tell, 200_000),
    "ask": (ask, 30_000),
    "ring": (ring, 100_000),
    "spawn": (spawn, 10_000),
}


def best(repeats: int, run: Callable[[], float]) -> float:
    """Return the smallest of some runs, in microseconds."""
    return min(run() for _ in range(repeats)) * 1e6


def measure_all(repeats: int, scale: float) -> dict[str, dict[str, float]]:
    """Run every measure for everybody."""
    logging.disable(logging.CRITICAL)
    results: dict[str, dict[str, float]] = {}
    kinds = [Raw, Core, Supervised, *([] if mindmesh is None else [Mindmesh])]
    for name, (measure, full) in MEASURES.items():
        count = max(RING, int(full * scale))
        for _ in range(repeats):  # in turn: what else the machine does meanwhile meets everybody
            for kind in kinds:
                row = results.setdefault(kind.name, {})
                row[name] = min(row.get(name, 1e9), asyncio.run(measure(kind, count)) * 1e6)
        fewer = max(RING, count // (20 if name == "spawn" else 10))
        results.setdefault(Threads.name, {})[name] = best(repeats, lambda m=name, n=fewer: threads(m, n))
    for kind in kinds:
        results[kind.name]["bytes"] = asyncio.run(memory(kind, max(RING, int(2000 * scale))))
    crashes = max(RING, int(2000 * scale))
    results[Supervised.name]["restart"] = best(repeats, lambda: asyncio.run(restart(crashes)))
    facts = max(RING, int(5000 * scale))
    costs = [asyncio.run(durable(facts)) for _ in range(repeats)]
    results[DURABLE] = {"cpu": min(cpu for cpu, _ in costs) * 1e6, "wall": min(wall for _, wall in costs) * 1e6}
    return results


def show(results: dict[str, dict[str, float]]) -> None:
    """Print the table."""
    columns = ["tell", "ask", "ring", "spawn", "bytes", "restart"]
    print(f"{'microseconds of CPU':28}" + "".join(f"{column:>16}" for column in columns))
    raw = results[Raw.name]
    for name, row in results.items():
        if name == DURABLE:
            rate = 1e6 / row["wall"]
            print(f"{name}: {rate:.0f} facts/s, {row['cpu']:.0f} us of CPU each")
            continue
        cells = []
        for column in columns:
            if column not in row:
                cells.append("-")
            elif column in MEASURES:
                cells.append(f"{row[column]:.3g} ({raw[column] / row[column]:.2f} x)")
            else:
                cells.append(f"{row[column]:.0f}")
        print(f"{name:28}" + "".join(f"{cell:>16}" for cell in cells))


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of operations")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    results = measure_all(options.repeats, options.scale)
    show(results)
    if options.json is not None:
        about = {"python": platform.python_version(), "machine": platform.machine(), "repeats": options.repeats}
        options.json.write_text(json.dumps({"about": about, "figures": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()

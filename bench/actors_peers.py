"""Who is measured: raw asyncio, our actors alone and in a tree, mindmesh where installed, pykka's threads."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Protocol

import pykka

from supervisors import ActorSystem, AsyncioActor, ChildSpec, MailboxOptions, SupervisorSpec

RING = 100
ROOM = MailboxOptions(capacity=10**9)
Handle = Callable[[Any], Any]
"""A handler: `async def`, or `def` for a core that is `plain`."""


class Core(Protocol):
    """A runtime of actors: `make` declares them, `start` starts what waits for that, `address` is where to send.

    `plain`: its handlers are `def`, not `async def`.
    """

    name: str
    plain: bool

    def make(self, handle: Handle) -> Any:
        """Make one actor around a function; the handle to give to `address`."""

    async def start(self) -> None:
        """Start what was made."""

    def address(self, made: Any) -> Any:
        """Return where to send."""

    def tell(self, address: Any, message: Any) -> None:
        """Send one way."""

    async def ask(self, address: Any, message: Any) -> Any:
        """Send and wait for the answer."""

    async def close(self) -> None:
        """End all."""


class Raw:
    """A task that reads an asyncio.Queue."""

    name = "raw asyncio.Queue + task"
    plain = False

    def __init__(self) -> None:
        self.tasks: list[asyncio.Task[None]] = []

    def make(self, handle: Handle) -> "asyncio.Queue[Any]":
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

    async def start(self) -> None:
        """They run already."""

    def address(self, made: Any) -> Any:
        """Return the queue."""
        return made

    def tell(self, address: "asyncio.Queue[Any]", message: Any) -> None:
        """Send one way."""
        address.put_nowait((message, None))

    async def ask(self, address: "asyncio.Queue[Any]", message: Any) -> Any:
        """Send and wait."""
        future = asyncio.get_running_loop().create_future()
        address.put_nowait((message, future))
        return await future

    async def close(self) -> None:
        """End all."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


class RawPlain(Raw):
    """The same, with plain functions as handlers."""

    name = "raw, def handlers"
    plain = True

    def make(self, handle: Handle) -> "asyncio.Queue[Any]":
        """Start one actor."""
        queue: asyncio.Queue[Any] = asyncio.Queue()

        async def run() -> None:
            while True:
                message, future = await queue.get()
                result = handle(message)
                if future is not None:
                    future.set_result(result)

        self.tasks.append(asyncio.get_running_loop().create_task(run()))
        return queue


class Worker(AsyncioActor):
    """An actor around a function."""

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self.on_receive = handle  # type: ignore[method-assign,assignment]


class Alone:
    """Our actors, outside a tree."""

    name = "supervisors, no tree"
    plain = False

    def __init__(self) -> None:
        self.refs: list[Any] = []

    def make(self, handle: Handle) -> Any:
        """Start one actor."""
        ref = Worker.start(handle)
        ref.actor_inbox.mailbox.capacity = ROOM.capacity
        self.refs.append(ref)
        return ref

    async def start(self) -> None:
        """They run already."""

    def address(self, made: Any) -> Any:
        """Return the reference."""
        return made

    def tell(self, address: Any, message: Any) -> None:
        """Send one way."""
        address.tell(message)

    async def ask(self, address: Any, message: Any) -> Any:
        """Send and wait."""
        return await address.ask(message)

    async def close(self) -> None:
        """End all."""
        await asyncio.gather(*[_stopped(ref) for ref in self.refs])


async def _stopped(ref: Any) -> None:
    await ref.stop()


class Supervised(Alone):
    """Our actors under a supervisor, with handler deadlines."""

    name = "supervisors, in a tree"

    def __init__(self) -> None:
        super().__init__()
        self.system: ActorSystem | None = None
        self.specs: list[ChildSpec] = []

    def make(self, handle: Handle) -> Any:
        """Declare one actor."""
        self.specs.append(ChildSpec(f"actor-{len(self.specs)}", lambda: Worker(handle), mailbox=ROOM))
        return self.specs[-1].name

    async def start(self) -> None:
        """Start the tree."""
        self.system = ActorSystem(SupervisorSpec("root", tuple(self.specs)))
        await self.system.start()

    def address(self, made: Any) -> Any:
        """Return the reference of that name."""
        assert self.system is not None
        return self.system.ref(made)

    async def close(self) -> None:
        """Stop the tree."""
        if self.system is not None:
            await self.system.stop()


class SupervisedPlain(Supervised):
    """The same, with plain functions as handlers: served by the run queue."""

    name = "supervisors, def handlers"
    plain = True


try:
    import mindmesh  # type: ignore[import-not-found,unused-ignore]
except ImportError:
    mindmesh = None
else:

    class Question(mindmesh.Request[Any]):  # type: ignore[misc]
        """What mindmesh wants an ask to be."""

    class MindmeshWorker(mindmesh.BaseActor):  # type: ignore[misc]
        """An actor around a function."""

        def __init__(self, hive: Any, actor_id: str, handle: Handle) -> None:
            super().__init__(hive, actor_id)
            self.on_message = handle


class Mindmesh:
    """mindmesh, an actor library for asyncio; install it beside the others to have it measured."""

    name = "mindmesh"
    plain = False

    def __init__(self) -> None:
        self.hive = mindmesh.ActorHive()

    def make(self, handle: Handle) -> Any:
        """Start one actor."""
        return self.hive.start_actor(MindmeshWorker, handle)

    async def start(self) -> None:
        """They run already."""

    def address(self, made: Any) -> Any:
        """Return its address."""
        return made

    def tell(self, address: Any, message: Any) -> None:
        """Send one way."""
        address.tell(message)

    async def ask(self, address: Any, message: Any) -> Any:  # noqa: ARG002 - it takes a request of its own kind only
        """Send and wait."""
        return await address.ask(Question())

    async def close(self) -> None:
        """End all."""
        await self.hive.shutdown()


CORES: tuple[type[Core], ...] = (
    Raw,
    Alone,
    Supervised,
    RawPlain,
    SupervisedPlain,
    *((Mindmesh,) if mindmesh is not None else ()),
)


class ThreadWorker(pykka.ThreadingActor):
    """pykka's own actor around a function."""

    use_daemon_thread = True

    def __init__(self, handle: Callable[[Any], Any]) -> None:
        super().__init__()
        self.handle = handle

    def on_receive(self, message: Any) -> Any:
        """Call the function."""
        return self.handle(message)


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

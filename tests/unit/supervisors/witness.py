"""An actor that notes its life, and trees of such: for the tests of supervision."""

import asyncio

from supervisors import (
    ActorSystem,
    AsyncioActor,
    Backoff,
    ChildSpec,
    SupervisorSpec,
)

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

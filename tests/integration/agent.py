"""A whole agent inside a test: real store, real local batch, real storage, in a directory of its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from actors.messages import Submitted, SubmitWorkflow
from actors.opening import open_world
from actors.wiring import kind_of
from actors.world import World
from backends.opening import settings_of
from backends.prodmgr.base import ProdMgr
from config.loader import load
from domain.events import Event
from domain.spec import Merge, Retry, Step, WorkflowSpec
from run_agent import tree
from storage import schema
from supervisors import ActorSystem, ChildSpec
from supervisors.testing import Signal

CONFIG = """
[agent]
name = "test"
store = "{store}"

[admin]
enabled = {admin}
port = 0
faults = true

[sites.alpha.storage]
kind = "posix"
root = "alpha/storage"

[sites.alpha.targets.alpha-local]
kind = "local"
directory = "alpha/batch"
hold_failure_s = 0
slots = 2
idle_s = 0.5
poll_s = 0.05

[sites.gamma.storage]
kind = "posix"
root = "gamma/storage"

[cleanup]
sweep_s = 0.2
{cleanup}

[events]
sweep_s = 0.2
redelivery_s = [0.05, 0.1]
{events}

[merge]
sweep_s = 0.2
"""


STORE = ContextVar("STORE", default="sqlite:///state/agent.db")
"""Where the agents of a test keep their store; tests/integration/conftest.py sets it."""


@dataclass
class Agent:
    """A running agent with a signal per kind of fact."""

    world: World
    system: ActorSystem
    directory: Path
    heard: dict[str, Signal]

    def fact(self, kind: type[Event]) -> Signal:
        return self.heard.setdefault(kind.__name__, Signal())

    async def submit(self, spec: WorkflowSpec) -> Submitted:
        answer: Submitted = await self.system.ref("injector").ask(SubmitWorkflow(spec=spec))
        return answer


@asynccontextmanager
async def running(
    directory: Path,
    *,
    more: str = "",
    events: str = "",
    cleanup: str = "",
    store: str = "",
    admin: bool = False,
    managers: Mapping[str, ProdMgr] | None = None,
) -> AsyncIterator[Agent]:
    """Yield an agent; afterwards it is stopped and its node daemon has ended.

    `store`: its address, if not the one that the test runs on; `more`: further tables; `events` and `cleanup`: further keys of these tables; `managers` answer instead of those in `more`.
    """
    path = directory / "agent.toml"
    path.write_text(
        CONFIG.format(admin=str(admin).lower(), events=events, cleanup=cleanup, store=store or STORE.get()) + more
    )
    async with open_world(load(path, settings_of)) as opened:
        world = opened if managers is None else replace(opened, managers=managers)
        system = ActorSystem(tree(world), clock=world.clock)
        agent = Agent(world, system, directory, {})

        def listen(kinds: frozenset[type[Event]]) -> None:
            world.tell_hearers(kinds)
            for kind in kinds:
                agent.fact(kind).fire()

        world.store.listen(listen)
        await system.start()
        try:
            yield agent
        finally:
            await system.stop(drain=0.0)
        undeclared = await _undeclared(world)
        assert not undeclared, undeclared
    await _daemons_end(directory)


def beta(target: str = "beta-local", **keys: object) -> str:
    """Return the tables of a second site with one batch target, a local one; `keys` of the target are added or replaced."""
    local = {"kind": "local", "directory": "beta/batch", "hold_failure_s": 0, "slots": 2, "idle_s": 0.5, "poll_s": 0.05}
    lines = "".join(f"{key} = {_toml(value)}\n" for key, value in {**local, **keys}.items())
    return f'\n[sites.beta.storage]\nkind = "posix"\nroot = "beta/storage"\n\n[sites.beta.targets.{target}]\n{lines}'


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {_toml(inner)}' for key, inner in value.items())} }}"
    return json.dumps(value)


async def _undeclared(world: World) -> list[str]:
    """Return the facts that an actor wrote and its class does not declare in `emits` (PA-006)."""
    kinds = {spec.name: kind for spec in tree(world).walk() if isinstance(spec, ChildSpec) and (kind := kind_of(spec))}
    kinds |= {
        name.partition(".")[0]: kind for name, kind in kinds.items() if "." in name
    }  # what several wrote together
    query = sa.select(schema.event.c.sender, schema.event.c.type).distinct()
    written = await world.store.read(lambda c: [tuple(row) for row in c.execute(query)])
    return [
        f"{sender} wrote {fact}"
        for sender, fact in written
        if sender in kinds and fact not in {kind.__name__ for kind in kinds[sender].emits}
    ]


async def _daemons_end(directory: Path) -> None:
    from tests.acceptance.campaign import lock_is_held

    async with asyncio.timeout(30):
        for lock in directory.glob("*/batch/node.lock"):
            while lock_is_held(lock):
                await asyncio.sleep(0.05)


def workflow(name: str = "plain", *, events: int = 40, command: str = "", **changes: object) -> WorkflowSpec:
    """Return a small workflow of shell jobs, ten events each."""
    script = command or "seq {first_event} {last_event} > '{output}'"
    values: dict[str, object] = {
        "events_per_job": 10,
        "deliver_to": ["gamma"],
        "merge": Merge(max_events=20, min_fraction=1.0),
        "retry": Retry(base_s=0.05, cap_s=0.1),
        **changes,
    }
    return WorkflowSpec(name=name, events=events, steps=[Step(command=["sh", "-c", script])], **values)  # type: ignore[arg-type]

#!/usr/bin/env python3
"""ProdAgent: one resilient process that turns a request for N events into verified, catalogued, delivered files.

This is the page to read first. An agent reads its configuration, opens its store and backends (actors/opening.py), starts
the supervision tree below, and runs until it is told to stop. Killed at any point, it goes on where it was: the database
decides, and starting is recovering.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import asyncio
import contextlib
import logging
import signal
from collections.abc import Callable
from functools import partial

from pykka import ActorDeadError

from actors.admin import Admin
from actors.allocation import Allocation
from actors.catalogue import Catalogue
from actors.cleanup import Cleanup
from actors.creator import Creator
from actors.error import Error
from actors.extra import WrongActor, extra_children
from actors.injector import Injector
from actors.merge import Merge
from actors.messages import RaiseAlert
from actors.monitor import Monitor
from actors.opening import open_world
from actors.queue import Queue
from actors.report import Report
from actors.stage import Stage
from actors.submitter import Submitter
from actors.tracker import Tracker
from actors.transfer import Transfer
from actors.world import World
from config.loader import Loaded
from services.console.program import program
from supervisors import (
    ActorSystem,
    Backoff,
    ChildSpec,
    LoopWatchOptions,
    MailboxFull,
    MailboxOptions,
    Strategy,
    SupervisorSpec,
)

log = logging.getLogger("prodagent")


def tree(world: World) -> SupervisorSpec:
    """The whole agent as data: who is started, in this order, and what follows a failure.

    agent                     one-for-one
    ├── watch                 one-for-one     monitor, admin (optional: parked when it cannot be kept alive)
    ├── intake                rest-for-one    injector, allocation.<prodmgr> ..., creator, queue
    ├── targets               one-for-one
    │   └── target.<name>     one-for-one     submitter.<name>, tracker.<name>
    ├── outcome               one-for-one     report, error
    └── data                  one-for-one     merge, catalogue, transfer, cleanup
    """
    keep = world.settings.supervision
    backoff = Backoff(
        base=keep.backoff_base_s, cap=keep.backoff_cap_s, jitter=keep.backoff_jitter, reset_after=keep.healthy_s
    )

    def child(
        name: str, start: Callable[[], Stage], *, essential: bool = True, deadline: float | None = None
    ) -> ChildSpec:
        return ChildSpec(
            name,
            start,
            essential=essential,
            shutdown=keep.shutdown_s,
            mailbox=MailboxOptions(capacity=keep.mailbox),
            handler_deadline=deadline or keep.handler_deadline_s,
        )

    def group(
        name: str, *children: ChildSpec | SupervisorSpec, strategy: Strategy = Strategy.ONE_FOR_ONE
    ) -> SupervisorSpec:
        extra = extra_children(world, name, child)
        return SupervisorSpec(name, (*children, *extra), strategy, keep.intensity, keep.period_s, backoff)

    def target(name: str) -> SupervisorSpec:
        slow = 4 * world.settings.tracker.call_deadline_s
        return group(
            f"target.{name}",
            child(f"submitter.{name}", lambda: Submitter(world, name), deadline=slow),
            child(f"tracker.{name}", lambda: Tracker(world, name), deadline=slow),
        )

    managers = [
        child(f"allocation.{each.name}", partial(Allocation, world, each), deadline=20 * each.call_deadline_s)
        for each in world.settings.prodmgr
    ]
    admin = [child("admin", lambda: Admin(world), essential=False)] if world.settings.admin.enabled else []
    return group(
        "agent",
        group("watch", child("monitor", lambda: Monitor(world), deadline=600.0), *admin),
        group(
            "intake",
            child("injector", lambda: Injector(world)),
            *managers,
            child("creator", lambda: Creator(world)),
            child("queue", lambda: Queue(world)),
            strategy=Strategy.REST_FOR_ONE,
        ),
        group("targets", *[target(name) for name in world.batches]),
        group("outcome", child("report", lambda: Report(world), deadline=600.0), child("error", lambda: Error(world))),
        group(
            "data",
            child("merge", lambda: Merge(world)),
            child("catalogue", lambda: Catalogue(world)),
            child("transfer", lambda: Transfer(world), deadline=600.0),
            child("cleanup", lambda: Cleanup(world), deadline=600.0),
        ),
    )


async def run(loaded: Loaded) -> int:
    """Run one agent until SIGTERM, SIGINT or a fault that its root supervisor cannot mend; return the exit code.

    A second signal skips the orderly drain. Raises ConfigError and StoreError before anything is started.
    """
    async with open_world(loaded) as world:
        system = ActorSystem(tree(world), clock=world.clock, loop_watch=LoopWatchOptions(), notify=True)
        system.on_alert = lambda alert: tell_monitor(system, alert.level, alert.actor, alert.text)
        world.store.listen(world.tell_hearers)
        stops = 0

        def stop() -> None:
            nonlocal stops
            stops += 1
            stopping.append(asyncio.ensure_future(system.stop(drain=5.0 if stops == 1 else 0.0)))

        stopping: list[asyncio.Future[None]] = []
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        await system.start()
        log.info("agent %s is ready: %d actors", loaded.settings.agent.name, len(system.names()))
        reason = await system.finished()
        log.info("agent %s ends: %s", loaded.settings.agent.name, reason)
        return 0 if reason == "stopped" else 1


def tell_monitor(system: ActorSystem, level: str, actor: str, text: str) -> None:
    """Book an alert of the supervision tree."""
    log.log(logging.CRITICAL if level == "critical" else logging.WARNING, "%s: %s", actor, text)
    with contextlib.suppress(ActorDeadError, MailboxFull):  # it is in the log already
        system.ref("monitor").tell(RaiseAlert(level=level, code="actor", subject=actor, text=text))


def main() -> None:
    """The program: `run` and the operator's commands."""
    program(run, (WrongActor,))()


if __name__ == "__main__":
    main()

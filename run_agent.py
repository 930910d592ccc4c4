#!/usr/bin/env python3
"""ProdAgent: one resilient process that turns a request for N events into verified, catalogued, delivered files.

This is the page to read first. An agent reads its configuration, opens its store and backends (actors/opening.py), starts
the supervision tree below, and runs until it is told to stop. Killed at any point, it goes on where it was: the database
decides, and starting is recovering.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

if __name__ == "__main__":  # only `run` and `simulate` need the rest: they import this page for it
    import gc
    from importlib import import_module

    from services.console import running

    def imported() -> running.Agent:
        """Import this page. What imports make stays: the collector of garbage would look through it a hundred times."""
        gc.disable()
        found: running.Agent = import_module("run_agent").agent()
        gc.freeze()
        gc.enable()
        return found

    running.main(imported)

import asyncio
import contextlib
import logging
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pykka import ActorDeadError

from actors import curves
from actors.admin import Admin
from actors.allocation import Allocation
from actors.backup import Backup
from actors.brakes import Work
from actors.catalogue import Catalogue
from actors.cleanup import Cleanup
from actors.creator import Creator
from actors.drainer import Drainer
from actors.error import Error
from actors.extra import WrongActor, extra_children
from actors.feed import Feed
from actors.guard import Guard
from actors.injector import Injector
from actors.keeper import Keeper
from actors.merge import Merge
from actors.messages import RaiseAlert, Refused, Reload, SetControl, Wake
from actors.monitor import Monitor
from actors.opening import open_world
from actors.postmaster import Postmaster, keep_fresh
from actors.queue import Queue
from actors.reconcile import Reconcile
from actors.reloader import Reloader
from actors.report import Report
from actors.reviser import Reviser
from actors.stage import Stage
from actors.steward import Steward
from actors.submitter import Submitter
from actors.tracker import Tracker
from actors.transfer import Transfer
from actors.wiring import Unwired, check
from actors.world import World
from config.loader import Loaded
from domain.controls import Kind, Scope
from services.console import running
from storage.sandboxes import Sandboxes
from storage.volumes import Volumes
from supervisors import (
    STOP_TIMERS,
    ActorSystem,
    Backoff,
    ChildSpec,
    DeadLetter,
    LoopWatchOptions,
    MailboxFull,
    MailboxOptions,
    Phase,
    Strategy,
    SupervisorSpec,
)

if TYPE_CHECKING:
    from services.simulation.life import Parts

log = logging.getLogger("prodagent")


def tree(world: World) -> SupervisorSpec:
    """The whole agent as data: who is started, in this order, and what follows a failure.

    agent                     one-for-one
    ├── watch                 one-for-one     postmaster, monitor, drainer, guard, keeper,
    │                                         reloader, backup, reconcile (after a restore), feed, admin
    │                                         (optional)
    ├── intake                rest-for-one    injector, allocation.<prodmgr> ..., creator, steward, reviser, queue
    ├── targets               one-for-one
    │   └── target.<name>     one-for-one     submitter.<name>, tracker.<name>
    ├── outcome               one-for-one     report, error
    └── data                  one-for-one     merge, catalogue, transfer, cleanup
    """
    made = Branches(world)
    return made.group("agent", made.watch(tree), made.intake(), made.targets(), made.outcome(), made.data())


class Branches:
    """The groups of the tree, with what the configuration asks for."""

    def __init__(self, world: World) -> None:
        self.world = world
        keep = self.keep = world.settings.supervision
        self.backoff = Backoff(
            base=keep.backoff_base_s, cap=keep.backoff_cap_s, jitter=keep.backoff_jitter, reset_after=keep.healthy_s
        )

    def child(
        self, name: str, start: Callable[[], Stage], *, essential: bool = True, deadline: float | None = None
    ) -> ChildSpec:
        """Return an actor; `deadline`: of its handlers, in seconds, else that of the configuration."""
        return ChildSpec(
            name,
            start,
            essential=essential,
            shutdown=self.keep.shutdown_s,
            mailbox=MailboxOptions(capacity=self.keep.mailbox),
            handler_deadline=deadline or self.keep.handler_deadline_s,
        )

    def group(
        self, name: str, *children: ChildSpec | SupervisorSpec, strategy: Strategy = Strategy.ONE_FOR_ONE
    ) -> SupervisorSpec:
        """Return a group of these, and of the actors that the configuration puts there."""
        extra = extra_children(self.world, name, self.child)
        return SupervisorSpec(
            name, (*children, *extra), strategy, self.keep.intensity, self.keep.period_s, self.backoff
        )

    def watch(self, whole: Callable[[World], SupervisorSpec]) -> SupervisorSpec:
        """Return who looks after the agent itself; `whole` makes the tree anew for other settings."""
        world, child = self.world, self.child
        kept = []
        if world.opener is not None:
            kept.append(child("reloader", partial(Reloader, world, world.opener, whole), deadline=600.0))
        if world.backups is not None:
            kept.append(child("backup", partial(Backup, world, world.backups), essential=False, deadline=3600.0))
        if world.restored is not None:
            kept.append(child("reconcile", partial(Reconcile, world, world.restored), deadline=600.0))
        if world.settings.feed.source:
            seconds = 2 * world.settings.feed.deadline_s + 30.0
            kept.append(child("feed", partial(Feed, world), essential=False, deadline=seconds))
        if world.settings.admin.enabled:
            kept.append(child("admin", partial(Admin, world), essential=False))
        return self.group(
            "watch",
            child("postmaster", partial(Postmaster, world)),
            child("monitor", partial(Monitor, world), deadline=600.0),
            child("drainer", partial(Drainer, world)),
            child("guard", partial(Guard, world)),
            child("keeper", partial(Keeper, world), deadline=600.0),
            *kept,
        )

    def intake(self) -> SupervisorSpec:
        """Return who takes work on, cuts it and gives it out."""
        world, child = self.world, self.child
        managers = [
            child(f"allocation.{each.name}", partial(Allocation, world, each), deadline=20 * each.call_deadline_s)
            for each in world.settings.prodmgr
        ]
        return self.group(
            "intake",
            child("injector", partial(Injector, world)),
            *managers,
            child("creator", partial(Creator, world)),
            child("steward", partial(Steward, world)),
            child("reviser", partial(Reviser, world)),
            child("queue", partial(Queue, world)),
            strategy=Strategy.REST_FOR_ONE,
        )

    def targets(self) -> SupervisorSpec:
        """Return who submits to each target and follows its jobs."""
        return self.group("targets", *map(self._target, self.world.batches))

    def _target(self, name: str) -> SupervisorSpec:
        slow = 4 * self.world.settings.tracker.call_deadline_s
        return self.group(
            f"target.{name}",
            self.child(f"submitter.{name}", partial(Submitter, self.world, name), deadline=slow),
            self.child(f"tracker.{name}", partial(Tracker, self.world, name), deadline=slow),
        )

    def outcome(self) -> SupervisorSpec:
        """Return who reads what jobs left and decides what follows a failure."""
        return self.group(
            "outcome",
            self.child("report", partial(Report, self.world), deadline=600.0),
            self.child("error", partial(Error, self.world)),
        )

    def data(self) -> SupervisorSpec:
        """Return who joins, books, delivers and deletes files."""
        world, child = self.world, self.child
        return self.group(
            "data",
            child("merge", partial(Merge, world)),
            child("catalogue", partial(Catalogue, world)),
            child("transfer", partial(Transfer, world), deadline=600.0),
            child("cleanup", partial(Cleanup, world), deadline=600.0),
        )


async def run(loaded: Loaded) -> int:
    """Run one agent until SIGTERM, SIGINT or a fault that its root supervisor cannot mend; return the exit code. SIGHUP lets it
    read its configuration anew.

    A second signal skips the orderly drain. Raises ConfigError and StoreError before anything is started.
    """
    name = loaded.settings.agent.name
    log.info("agent %s begins, after %.2f s of CPU", name, time.process_time())
    async with open_world(loaded) as world:
        log.info("agent %s has its store, after %.2f s of CPU", name, time.process_time())
        wanted = tree(world)
        check(wanted)
        system = connected(world, ActorSystem(wanted, clock=world.clock, loop_watch=LoopWatchOptions(), notify=True))
        stops = 0

        def stop() -> None:
            nonlocal stops
            stops += 1
            stopping.append(asyncio.ensure_future(system.stop(drain=5.0 if stops == 1 else 0.0)))

        stopping: list[asyncio.Future[None]] = []
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop)
        loop.add_signal_handler(signal.SIGHUP, lambda: rereading.append(asyncio.ensure_future(reread(system))))
        rereading: list[asyncio.Future[None]] = []
        await system.start()
        log.info("agent %s is ready: %d actors, after %.2f s of CPU", name, len(system.names()), time.process_time())
        reason = await system.finished()
        log.info("agent %s ends: %s", name, reason)
        return 0 if reason == "stopped" else 1


async def reread(system: ActorSystem) -> None:
    """Read the configuration anew; a file that will not do is an alert too."""
    try:
        await system.ref("reloader").ask(Reload(who="SIGHUP"), timeout=600.0)
    except (Refused, TimeoutError, ActorDeadError, MailboxFull) as error:
        log.warning("the configuration is not read anew: %s", error)


def connected(world: World, system: ActorSystem) -> ActorSystem:
    """Let commits wake the actors, what befalls the tree reach the monitor, and an orderly stop begin with the intake."""
    system.on_alert = lambda alert: tell_monitor(system, alert.level, alert.actor, alert.text)
    system.dead_letters.on_letter = lambda letter: wake_postmaster(system, letter)
    system.phases = (
        Phase("stop intake", partial(begin_nothing, world), before=STOP_TIMERS),
        Phase("keep dead letters", partial(keep_fresh, world.store, system)),
    )
    world.store.listen(world.tell_hearers)
    return system


async def begin_nothing(world: World) -> None:
    """Take on, cut and submit nothing while the mailboxes drain."""
    world.brakes.hold("stop", "the agent stops", Work.INTAKE, Work.SUBMISSION)


def wake_postmaster(system: ActorSystem, letter: DeadLetter) -> None:
    """Have a dead letter written down; the postmaster's own, and what dies while all stop, wait for the end of the stop."""
    log.warning(
        "%s: %s is a dead letter: %s %s", letter.actor, type(letter.message).__name__, letter.reason, letter.error
    )
    if letter.actor != "postmaster" and not system.stopping:
        with contextlib.suppress(ActorDeadError, MailboxFull):
            system.ref("postmaster").tell(Wake(), unique=True)


def simulated(parts: "Parts") -> ActorSystem:
    """Make the same tree on a simulated world (services/simulation)."""
    world = World(
        settings=parts.settings,
        store=parts.store,
        clock=parts.clock,
        sandboxes=Sandboxes(parts.scratch),
        batches=dict(parts.batches),
        storages=dict(parts.storages),
        stage_out={site: [] for site in parts.storages},
        managers=dict(parts.managers),
        chance=parts.chance,
        volumes=Volumes(parts.scratch / "archives"),
        curves=curves.known(parts.settings.errors),
    )
    system = connected(world, ActorSystem(tree(world), clock=parts.clock, seed=parts.chance.getrandbits(32)))

    def set_mode(site: str, mode: str) -> None:
        order = SetControl(scope=Scope.SITE, subjects=[site], kind=Kind.MODE, value=mode, reason="simulated")
        system.ref("steward").tell(order)

    parts.operator.set_mode = set_mode
    return system


def tell_monitor(system: ActorSystem, level: str, actor: str, text: str) -> None:
    """Book an alert of the supervision tree."""
    log.log(logging.CRITICAL if level == "critical" else logging.WARNING, "%s: %s", actor, text)
    with contextlib.suppress(ActorDeadError, MailboxFull):  # it is in the log already
        system.ref("monitor").tell(RaiseAlert(level=level, code="actor", subject=actor, text=text))


def agent() -> running.Agent:
    """What the commands `run` and `simulate` stand on."""
    return running.Agent(run, (WrongActor, Unwired), simulated)

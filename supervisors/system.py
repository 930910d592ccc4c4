"""A running tree of actors: starts it, finds its members, shows it, stops it."""

import asyncio
import difflib
import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

import msgspec

from supervisors.actor import AsyncioActor
from supervisors.cell import Cell
from supervisors.child import ActorChild, Child
from supervisors.clock import Clock, SystemClock
from supervisors.dead_letters import DeadLetters, Reason
from supervisors.drain import DRAIN, STOP_ACTORS, STOP_TIMERS, Phase, Shutdown, in_order
from supervisors.loop_watch import LoopWatch, LoopWatchOptions
from supervisors.ref import ActorRef
from supervisors.snapshot import SystemSnapshot, take_snapshot
from supervisors.specs import ChildSpec, SupervisorSpec, check_names
from supervisors.state import State
from supervisors.supervisor import Supervisor
from supervisors.systemd import Heartbeat, Notifier
from supervisors.tracing import Trace, log_all

logger = logging.getLogger("prodagent.system")

_DRAIN_LOOK = 0.01  # seconds between two looks at the mailboxes


class Alert(msgspec.Struct, frozen=True):
    """Something an operator should know."""

    level: str  # warning, critical
    actor: str
    text: str
    when: float  # UTC epoch seconds


class ActorSystem:
    """The actors of one process under one root supervisor."""

    def __init__(
        self,
        tree: SupervisorSpec,
        *,
        clock: Clock | None = None,
        seed: int | None = None,
        loop_watch: LoopWatchOptions | None = None,
        notify: bool = False,
        phases: Sequence[Phase] = (),
    ) -> None:
        """Take a tree; `loop_watch` watches the loop from a thread, `notify` talks to systemd.

        `phases` are steps of the program's own in the orderly stop.
        """
        check_names(tree)
        in_order(self._own_phases("", 0.0), phases)
        self.tree = tree
        self.clock: Clock = clock or _clock_of_loop()
        self.random = Random(seed)  # noqa: S311
        self.dead_letters = DeadLetters()
        self.on_alert: Callable[[Alert], None] = _log_alert
        self.stopping = False
        self.traces: list[Trace] = []
        self._debugged: dict[str, Trace] = {}
        self.loop_watch = None if loop_watch is None else LoopWatch(loop_watch, self._loop_alert)
        self._heartbeat = Heartbeat(Notifier(), self.silent) if notify else None
        self._children: dict[str, Child] = {}
        self._parents: dict[str, Supervisor] = {}
        self._finished: asyncio.Future[str] | None = None
        self.phases = phases
        self._shutdown = Shutdown()
        self._stopper: asyncio.Task[None] | None = None
        self.born = self.clock.monotonic()
        self.root = Supervisor(tree, self, tree, self._root_ended)
        self._children[tree.name] = self.root

    # the tree tells

    def make_cell(self, spec: ChildSpec) -> Cell:
        """Make the lasting part of an actor."""
        return Cell(
            spec.name,
            spec.mailbox,
            clock=self.clock,
            dead_letters=self.dead_letters,
            random=self.random,
            system=self,
        )

    def enter(self, child: Child, parent: Supervisor) -> None:
        """Note a new member."""
        self._children[child.name] = child
        self._parents[child.name] = parent

    def leave(self, child: Child) -> None:
        """Forget a member and all below it."""
        for below in list(getattr(child, "children", {}).values()):
            self.leave(below)
        del self._children[child.name], self._parents[child.name]

    def alert(self, level: str, actor: str, text: str) -> None:
        """Tell the operators."""
        try:
            self.on_alert(Alert(level, actor, text, self.clock.time()))
        except Exception:
            logger.exception("on_alert failed for %s: %s", actor, text)

    # life

    async def start(self) -> None:
        """Start all in order; returns when every actor is ready, raises what kept an essential one from starting."""
        if self._finished is not None:
            raise RuntimeError(f"{self.tree.name}: a system starts once")
        self._finished = asyncio.get_running_loop().create_future()
        self.born = self.clock.monotonic()
        await self.root.launch()
        failure = self.root.last_failure
        if not self.root.ready and failure is not None:
            await self._stop_once(str(failure.error), 0.0)
            raise failure.error
        if self.loop_watch is not None:
            self.loop_watch.start()
        if self._heartbeat is not None:
            self._heartbeat.start()

    async def stop(self, *, drain: float = 5.0) -> None:
        """Stop in phases: ticks first, then up to `drain` seconds to empty the mailboxes, then the actors in reverse.

        Those of the program (`phases`) come in between. May be called twice, and from inside an actor; a second call
        with `drain=0` cuts the draining short.
        """
        await self._stop_once("stopped", drain)

    async def _stop_once(self, reason: str, drain: float) -> None:
        if drain == 0:
            self._shutdown.hurry()
        self._begin_stop(reason, drain)
        if self._stopper is not None:
            await asyncio.shield(self._stopper)

    def _begin_stop(self, reason: str, drain: float) -> None:
        if self._stopper is None:
            self._stopper = asyncio.get_running_loop().create_task(self._stop(reason, drain), name="stop the system")

    def _own_phases(self, reason: str, drain: float) -> list[Phase]:
        return [
            Phase(STOP_TIMERS, self._stop_timers),
            Phase(DRAIN, self._drain, drain, skippable=True),
            Phase(STOP_ACTORS, partial(self._stop_actors, reason), None),  # each actor has its own time
        ]

    async def _stop(self, reason: str, drain: float) -> None:
        if self._heartbeat is not None:
            self._heartbeat.stop()
        await self._shutdown.run(in_order(self._own_phases(reason, drain), self.phases))
        if self._finished is not None and not self._finished.done():
            self._finished.set_result(reason)

    async def _stop_timers(self) -> None:
        for cell in self.cells():
            cell.clear_ticks()

    async def _drain(self) -> None:
        while any(map(_is_working, self.cells())):  # noqa: ASYNC110
            await asyncio.sleep(_DRAIN_LOOK)

    async def _stop_actors(self, reason: str) -> None:
        self.stopping = True
        await self.root.retire(abort=False)
        self.root.close(Reason.STOPPED, reason)
        for trace in tuple(self.traces):
            trace.stop()
        if self.loop_watch is not None:
            self.loop_watch.stop()

    def _root_ended(self, _: Any, error: BaseException | None) -> None:
        if self.root.launches and self.root.last_failure is not None and self.root.started.done():
            reason = str(error)
            logger.critical("the root supervisor gave up: %s", reason)
            self._begin_stop(reason, 0.0)

    async def finished(self) -> str:
        """Wait for the end of the system and return its reason."""
        if self._finished is None:
            raise RuntimeError(f"{self.tree.name} was not started")
        return await asyncio.shield(self._finished)

    # members

    def names(self) -> tuple[str, ...]:
        """Return the names of all actors, in start order."""
        return tuple(cell.name for cell in self.cells())

    def cells(self) -> Iterator[Cell]:
        """Yield the lasting parts of all actors, in start order."""
        yield from _cells_below(self.root)

    def ref(self, name: str) -> ActorRef[Any]:
        """Return the address of an actor; it holds for as long as the actor is in the tree."""
        child = self._find(name)
        if not isinstance(child, ActorChild):
            raise KeyError(f"{name!r} is a group, not an actor")
        return child.cell.ref

    def _find(self, name: str) -> Child:
        child = self._children.get(name)
        if child is None:
            near = difflib.get_close_matches(name, self._children, 1)
            raise KeyError(f"no actor {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        return child

    def _parent(self, name: str) -> Supervisor:
        self._find(name)
        if name not in self._parents:
            raise ValueError(f"{name!r} is the root of the tree")
        return self._parents[name]

    async def add_child(self, supervisor: str, spec: ChildSpec | SupervisorSpec) -> None:
        """Start one more child in a running group; raises what kept it from starting."""
        group = self._find(supervisor)
        if not isinstance(group, Supervisor):
            raise ValueError(f"{supervisor!r} is an actor, not a group")  # noqa: TRY004
        for name in [spec.name] if isinstance(spec, ChildSpec) else [each.name for each in spec.walk()]:
            if name in self._children:
                raise ValueError(f"duplicate name {name!r}: every actor and group needs its own")
        await group.add(spec)

    async def remove_child(self, name: str) -> None:
        """Stop an actor or a group and take it out of the tree."""
        await self._parent(name).remove(name)

    async def restart(self, name: str) -> None:
        """Replace an actor or a group by fresh instances; also wakes a parked one."""
        await self._parent(name).restart_child(name)

    async def replace(self, name: str, start: Callable[[], AsyncioActor]) -> None:
        """Let another implementation take over a running actor: same reference, same mailbox.

        It must pass its `self_check` while the old one works on, then its `on_start`; what it raises there is raised here
        and the old implementation goes on.
        """
        await self._parent(name).replace(name, start)

    def instance(self, name: str) -> AsyncioActor | None:
        """Return the instance of an actor that lives now; None between two of them, and for a group."""
        child = self._find(name)
        return child.cell.life.actor if isinstance(child, ActorChild) and child.cell.life is not None else None

    def pause(self, name: str) -> None:
        """Let an actor (or all of a group) finish its handler and take no further message."""
        for cell in self._cells_of(name):
            cell.pause(True)

    def resume(self, name: str) -> None:
        """Let a paused actor (or group) go on."""
        for cell in self._cells_of(name):
            cell.pause(False)

    def _cells_of(self, name: str) -> Iterator[Cell]:
        child = self._find(name)
        if isinstance(child, Supervisor):
            yield from _cells_below(child)
        elif isinstance(child, ActorChild):
            yield child.cell

    def tick_now(self, actor: str, name: str) -> None:
        """Deliver a tick at once; its rhythm goes on as before."""
        for cell in self._cells_of(actor):
            cell.ticker.now(name)

    # seeing

    def silent(self) -> list[str]:
        """Return who does not beat: the tree when it is down, essential actors with a handler beyond any deadline."""
        if not self.root.ready:
            return [self.root.name]
        return [
            child.name
            for child in self._children.values()
            if isinstance(child, ActorChild) and child.essential and child.stuck()
        ]

    def _loop_alert(self, text: str) -> None:
        self.alert("critical", self.root.name, text)

    def trace(
        self,
        actor: str | None = None,
        message_type: str | None = None,
        correlation: str | None = None,
        seconds: float = 60.0,
    ) -> Trace:
        """Record the messages handled by one actor, of one type name, of one correlation id; ends by itself."""
        if actor is not None:
            self._find(actor)
        trace = Trace(actor, message_type, correlation, self._end_trace)
        self.traces.append(trace)
        self._retrace()
        asyncio.get_running_loop().call_later(seconds, trace.stop)
        return trace

    def debug(self, actor: str, seconds: float = 3600.0) -> Trace:
        """Log an actor at level DEBUG, with every message it handles; ends by itself after `seconds`, 0 = now.

        Called again, the time begins anew.
        """
        name = self.ref(actor).name
        if name in self._debugged:
            self._debugged[name].stop()
        trace = self._debugged[name] = self.trace(actor=name, seconds=seconds)
        log_all(trace, logging.getLogger(f"prodagent.actor.{name}"))
        return trace

    def _end_trace(self, trace: Trace) -> None:
        self.traces.remove(trace)
        self._retrace()

    def _retrace(self) -> None:
        for cell in self.cells():
            if cell.life is not None:
                cell.life.retrace(self.traces)

    def snapshot(self) -> SystemSnapshot:
        """Return what can be seen from outside, ready for JSON."""
        return take_snapshot(self)


def _cells_below(group: Supervisor) -> Iterator[Cell]:
    for child in group.children.values():
        if isinstance(child, Supervisor):
            yield from _cells_below(child)
        elif isinstance(child, ActorChild):
            yield child.cell


def _is_working(cell: Cell) -> bool:
    return cell.state is State.BUSY or (len(cell.mailbox) > 0 and cell.life is not None and not cell.paused)


def _clock_of_loop() -> Clock:
    try:
        loop: Any = asyncio.get_running_loop()
    except RuntimeError:
        return SystemClock()
    clock: Clock = getattr(loop, "clock", None) or SystemClock()
    return clock


def _log_alert(alert: Alert) -> None:
    logger.log(logging.CRITICAL if alert.level == "critical" else logging.WARNING, "%s: %s", alert.actor, alert.text)

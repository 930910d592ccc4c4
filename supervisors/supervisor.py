"""A supervisor: starts its children in order, restarts those that fail, escalates when that does not help."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from supervisors.actor import AsyncioActor
from supervisors.child import ActorChild, Child, OnEnd
from supervisors.dead_letters import Reason
from supervisors.faults import Escalated, Transient
from supervisors.restarts import Budget, Pauses, affected
from supervisors.specs import ChildSpec, Restart, SupervisorSpec
from supervisors.state import Failure, State

if TYPE_CHECKING:
    from supervisors.system import ActorSystem

logger = logging.getLogger("prodagent.supervisor")

Event = Callable[[], Awaitable[None]]


class Supervisor:
    """A group of children with one strategy, run as one task that handles one event after another."""

    restart = Restart.PERMANENT

    def __init__(self, spec: SupervisorSpec, system: "ActorSystem", group: SupervisorSpec, on_end: OnEnd) -> None:
        self.spec = spec
        self.name = spec.name
        self.essential = spec.essential
        self.system = system
        self.state = State.NEW
        self.budget = Budget(group.intensity, group.period)  # of its own, spent when it is optional
        self.children_budget = Budget(spec.intensity, spec.period)
        self.pauses = Pauses(group.backoff)
        self.launches = 0
        self.last_failure: Failure | None = None
        self.children: dict[str, Child] = {}
        self._on_end = on_end
        self._retired = False
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self._pending: list[Child] = []  # to be started, in order
        self._due: dict[str, asyncio.TimerHandle] = {}
        self._commands: set[asyncio.Future[None]] = set()
        self._newborn: dict[str, asyncio.Future[None]] = {}
        self._on_trial: Child | None = None  # a child whose failure brings back what it replaced
        self._trial_error: BaseException | None = None
        self._up = self._born = 0.0
        for child in spec.children:
            self._adopt(child)

    def _adopt(self, spec: ChildSpec | SupervisorSpec) -> Child:
        child: Child
        if isinstance(spec, SupervisorSpec):
            child = Supervisor(spec, self.system, self.spec, self._child_ended)
        else:
            child = ActorChild(spec, self.spec, self.system.make_cell(spec), self._child_ended)
        self.children[spec.name] = child
        self.system.enter(child, self)
        return child

    def _child_ended(self, child: Child, error: BaseException | None) -> None:
        if child is self._on_trial:
            self._trial_error = error or RuntimeError(f"{child.name} stopped while it was on trial")
            return
        self._events.put_nowait(lambda: self._after(child, error))

    # what its own supervisor sees

    @property
    def restarts(self) -> int:
        """How often the group was started again."""
        return max(0, self.launches - 1)

    @property
    def running(self) -> bool:
        """Say whether the group's task runs."""
        return self._task is not None and not self._task.done()

    @property
    def closed(self) -> bool:
        """Say whether the group was parked or stopped for good."""
        return self._closed

    @property
    def ready(self) -> bool:
        """Say whether all children were started and the group runs."""
        return self.state is State.RUNNING

    def healthy_for(self) -> float:
        """Return for how many seconds the group was up before it ended."""
        return self._up

    def launch(self) -> asyncio.Future[None]:
        """Start all children in order."""
        loop = asyncio.get_running_loop()
        self.launches += 1
        self.state = State.STARTING
        self._retired = self._closed = False
        self._events = asyncio.Queue()
        self.children_budget.clear()
        self._born = self.system.clock.monotonic()
        self.started: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._run(), name=f"supervisor {self.name}")
        self._task.add_done_callback(self._ended)
        return self.started

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        for done in tuple(self._commands):
            _settle(done, RuntimeError(f"the group {self.name!r} ended before the command was done"))
        if not self.started.done():
            self.started.set_result(None)
        if not self._retired:
            self._up = self.system.clock.monotonic() - self._born
            self.state = State.STOPPED
            error = error or Escalated(f"{self.name}: its task was cancelled")
            self.last_failure = Failure(error, self.system.clock.time())
            self._on_end(self, error)

    async def retire(self, *, abort: bool) -> None:
        """End the group and everything below it, the last started first."""
        self._retired = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._retire_children(abort=abort)

    def rest(self, state: State) -> None:
        """Note what the group does while nothing runs."""
        self.state = state

    def close(self, reason: Reason, text: str) -> None:
        """Refuse messages to everything below."""
        self._closed = True
        self.state = State.PARKED if reason is Reason.PARKED else State.STOPPED
        for child in reversed(self.children.values()):
            child.close(reason, text)

    # its own task

    async def _run(self) -> None:
        try:
            gone = [child for child in self.children.values() if child.closed and child.restart is Restart.TEMPORARY]
            self._pending = [child for child in self.children.values() if child not in gone]
            await self._bring_up(in_turn=True)
            while True:
                event = await self._events.get()
                await event()
        except Exception:
            await self._retire_children(abort=True)
            raise

    async def _bring_up(self, *, in_turn: bool) -> None:
        while self._pending:
            child = self._pending[0]
            if child.name in self._due:
                return  # it waits for its pause to end
            ready = child.launch()
            if in_turn:
                await ready
                if not child.ready:
                    return  # it failed: the event says how
            self._pending.pop(0)
        if not self.started.done():
            self.state = State.RUNNING
            self.started.set_result(None)

    async def _retire_children(self, *, abort: bool) -> None:
        for timer in self._due.values():
            timer.cancel()
        self._due.clear()
        for child in reversed(self.children.values()):
            await child.retire(abort=abort)
            child.rest(State.STOPPED)

    async def _after(self, child: Child, error: BaseException | None) -> None:
        """Decide what follows the end of a child."""
        if self.children.get(child.name) is not child:
            return
        if error is not None:
            logger.error("%s: %s failed", self.name, child.name, exc_info=error)
        if self._give_back_newborn(child, error):
            return
        if child.restart is Restart.TEMPORARY or (error is None and child.restart is Restart.TRANSIENT):
            self._close(child, Reason.STOPPED, error)
            await self._bring_up(in_turn=True)
            return
        if not isinstance(error, Transient):
            self._refuse_bad_start(child, error)
            if not self._spend(child, error):
                self._close(child, Reason.PARKED, error)
                self.system.alert("critical", child.name, f"parked after too many failures, last {_text(error)}")
                await self._bring_up(in_turn=True)
                return
        await self._schedule(child)

    def _refuse_bad_start(self, child: Child, error: BaseException | None) -> None:
        if not self.started.done() and self.launches == 1 and child.essential and child in self._pending:
            raise Escalated(f"{child.name} did not start: {_text(error)}") from error

    def _spend(self, child: Child, error: BaseException | None) -> bool:
        now = self.system.clock.monotonic()
        if not child.essential:
            return child.budget.spend(now)
        if self.children_budget.spend(now):
            return True
        spec = self.spec
        raise Escalated(
            f"{self.name}: more than {spec.intensity} restarts in {spec.period:g} s; last {child.name}: {_text(error)}"
        ) from error

    def _close(self, child: Child, reason: Reason, error: BaseException | None) -> None:
        child.close(reason, _text(error))
        self._drop_plans(child)

    def _drop_plans(self, child: Child) -> None:
        timer = self._due.pop(child.name, None)
        if timer is not None:
            timer.cancel()
        if child in self._pending:
            self._pending.remove(child)

    async def _schedule(self, failed: Child) -> None:
        """Take down those that share the failure, plan the restart."""
        delay = failed.pauses.after_failure(failed.healthy_for(), self.system.random.random())
        for child in reversed(self._share(failed)):
            if child in self._pending and child is not failed:
                continue
            if child is not failed:
                self._drop_plans(child)
            await child.retire(abort=True)
            if child.restart is Restart.TEMPORARY:
                self._close(child, Reason.STOPPED, None)
            else:
                child.rest(State.BACKING_OFF)
        event: Event = lambda: self._relaunch(failed)  # noqa: E731
        self._due[failed.name] = asyncio.get_running_loop().call_later(delay, self._events.put_nowait, event)
        if not failed.essential and failed in self._pending:  # the others need not wait for it
            self._pending.remove(failed)
            await self._bring_up(in_turn=True)

    def _share(self, failed: Child) -> list[Child]:
        names = affected(self.spec.strategy, list(self.children), failed.name)
        return [self.children[name] for name in names if not self.children[name].closed]

    def _queue(self, children: list[Child]) -> None:
        wanted = [*children, *self._pending]
        self._pending = [child for child in self.children.values() if child in wanted and not child.running]

    async def _relaunch(self, failed: Child) -> None:
        self._due.pop(failed.name, None)
        self._queue(self._share(failed))
        await self._bring_up(in_turn=len(self._pending) > 1 or not self.started.done())

    # commands

    async def _command(self, work: Callable[[asyncio.Future[None]], Awaitable[None]]) -> None:
        if not self.running:
            raise RuntimeError(f"the group {self.name!r} does not run: it is {self.state}")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._commands.add(done)
        done.add_done_callback(self._commands.discard)

        async def run() -> None:
            try:
                await work(done)
            except Exception as error:
                _settle(done, error)

        self._events.put_nowait(run)
        await done

    async def add(self, spec: ChildSpec | SupervisorSpec) -> None:
        """Start one more child; one that cannot start is taken out again and its error raised."""

        async def work(done: asyncio.Future[None]) -> None:
            child = self._adopt(spec)
            self._newborn[child.name] = done
            child.launch().add_done_callback(lambda _: self._events.put_nowait(lambda: self._grown(child)))

        await self._command(work)

    async def _grown(self, child: Child) -> None:
        if child.ready and (done := self._newborn.pop(child.name, None)) is not None:
            _settle(done)

    def _give_back_newborn(self, child: Child, error: BaseException | None) -> bool:
        done = self._newborn.pop(child.name, None)
        if done is None or done.done():
            return False
        if error is None or isinstance(error, Transient):
            _settle(done)
            return False
        self._forget(child)
        _settle(done, error)
        return True

    async def remove(self, name: str) -> None:
        """Stop a child and take it out of the tree."""

        async def work(done: asyncio.Future[None]) -> None:
            child = self.children[name]
            waiting = self._share(child) if name in self._due else []
            await child.retire(abort=False)
            self._forget(child)
            self._queue(waiting)  # they went down with it
            _settle(done)
            await self._bring_up(in_turn=True)

        await self._command(work)

    def _forget(self, child: Child) -> None:
        self._drop_plans(child)
        child.close(Reason.STOPPED, "removed")
        del self.children[child.name]
        self.system.leave(child)

    async def restart_child(self, name: str) -> None:
        """Replace a child by a fresh instance, parked ones too; done when it is ready or has failed."""

        async def work(done: asyncio.Future[None]) -> None:
            child = self.children[name]
            planned = name in self._due
            self._drop_plans(child)
            await child.retire(abort=True)
            child.pauses.clear()
            child.budget.clear()
            child.launch().add_done_callback(lambda _: _settle(done))
            if planned:  # others went down with it
                await self._relaunch(child)

        await self._command(work)

    async def replace(self, name: str, start: Callable[[], AsyncioActor]) -> None:
        """Let another implementation take over an actor; raises why it could not, then the old one is back."""
        child = self.children[name]
        if not isinstance(child, ActorChild):
            raise ValueError(f"{name!r} is a group, not an actor")  # noqa: TRY004
        await child.try_out(start)

        async def work(done: asyncio.Future[None]) -> None:
            before = child.spec
            self._drop_plans(child)
            await child.retire(abort=False)
            self._on_trial, self._trial_error = child, None
            child.spec = msgspec.structs.replace(before, start=start)
            await child.launch()
            self._on_trial, error = None, self._trial_error
            if error is not None:
                logger.error("%s: the new %s did not start, the old one is back", self.name, name, exc_info=error)
                child.spec = before
                await child.launch()
            _settle(done, error)

        await self._command(work)


def _settle(done: asyncio.Future[None], error: BaseException | None = None) -> None:
    if done.done():
        return
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


def _text(error: BaseException | None) -> str:
    return "stopped" if error is None else f"{type(error).__name__}: {error}"

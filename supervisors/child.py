"""An actor in its place in the tree: makes its lives one after another, ends them, parks it."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import pykka

from supervisors.actor import AsyncioActor, cell_of_newborn
from supervisors.cell import Cell
from supervisors.dead_letters import Reason
from supervisors.life import Life
from supervisors.ref import ActorRef
from supervisors.reply import settled
from supervisors.restarts import Budget, Pauses
from supervisors.specs import ChildSpec, Restart, SupervisorSpec
from supervisors.state import State


class Child(Protocol):
    """What a supervisor does with a child, actor or group alike."""

    name: str
    essential: bool
    restart: Restart
    budget: Budget  # of its own, spent when it is optional
    pauses: Pauses

    @property
    def restarts(self) -> int:
        """How often it was started again."""

    @property
    def running(self) -> bool:
        """Say whether anything of it runs."""

    @property
    def closed(self) -> bool:
        """Say whether it was parked or stopped for good."""

    @property
    def ready(self) -> bool:
        """Say whether it started and still runs."""

    def launch(self) -> asyncio.Future[None]:
        """Start afresh; the result is done when it is ready or has failed (then `on_end` was called)."""

    async def retire(self, *, abort: bool) -> None:
        """End what runs: gently, or with its handlers cancelled at once. Mailboxes stay."""

    def healthy_for(self) -> float:
        """Return for how many seconds it was up before it ended."""

    def rest(self, state: State) -> None:
        """Note what it does while nothing runs."""

    def close(self, reason: Reason, text: str) -> None:
        """Refuse messages from now on."""


OnEnd = Callable[[Any, BaseException | None], None]


class ActorChild:
    """One actor under a supervisor."""

    __slots__ = ("_on_end", "_retiring", "_up", "budget", "cell", "essential", "name", "pauses", "restart", "spec")

    def __init__(self, spec: ChildSpec, group: SupervisorSpec, cell: Cell, on_end: OnEnd) -> None:
        self.spec = spec
        self.name = spec.name
        self.essential = spec.essential
        self.restart = spec.restart
        self.cell = cell
        self.budget = Budget(group.intensity, group.period)
        self.pauses = Pauses(group.backoff)
        self._on_end = on_end
        self._retiring: Life | None = None
        self._up = 0.0
        cell.ref = ActorRef(cell, AsyncioActor)

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.cell.generation - 1)

    @property
    def running(self) -> bool:
        """Say whether an instance lives."""
        return self.cell.life is not None

    @property
    def closed(self) -> bool:
        """Say whether it was parked or stopped for good."""
        return self.cell.closed is not None

    @property
    def ready(self) -> bool:
        """Say whether it started and still runs."""
        life = self.cell.life
        return life is not None and life.ready is None

    def healthy_for(self) -> float:
        """Return for how many seconds it was up before it ended."""
        return self._up

    def launch(self) -> asyncio.Future[None]:
        """Make a fresh instance and run it."""
        loop = asyncio.get_running_loop()
        cell, spec = self.cell, self.spec
        cell.live_on(loop)
        cell.reopen()
        try:
            actor = self._make()
        except Exception as error:
            cell.generation += 1
            self._up = 0.0
            cell.note_failure(error)
            self._on_end(self, error)
            failed: asyncio.Future[None] = loop.create_future()
            failed.set_result(None)
            return failed
        life = Life(
            cell,
            actor,
            self._ended,
            start_timeout=spec.start_timeout,
            handler_deadline=spec.handler_deadline,
            patience=spec.shutdown,
            redeliver=spec.redeliver,
        )
        return life.begin(loop)

    async def try_out(self, start: Callable[[], AsyncioActor]) -> None:
        """Let an instance on trial check itself; the one that works is not touched."""
        trial = self._made(start, Cell(self.name, self.spec.mailbox, clock=self.cell.clock, system=self.cell.system))
        async with asyncio.timeout(self.spec.start_timeout):
            await settled(trial.self_check())

    def _made(self, start: Callable[[], Any], cell: Cell) -> AsyncioActor:
        token = cell_of_newborn.set(cell)
        try:
            actor = start()
        finally:
            cell_of_newborn.reset(token)
        if not isinstance(actor, AsyncioActor):
            raise TypeError(f"{self.name}: start() must return an AsyncioActor, got {actor!r}")
        return actor

    def _make(self) -> AsyncioActor:
        actor = self._made(self.spec.start, self.cell)
        if actor.lived:
            raise TypeError(f"{self.name}: start() returned the instance of an earlier life, a fresh one is needed")
        actor.bind(self.cell)
        if not self.cell.registered:
            self.cell.registered = True
            pykka.ActorRegistry.register(self.cell.ref)
        return actor

    def _ended(self, life: Life) -> None:
        if life.is_current() and not life.retired:
            self._settle(life, life.error)
            self._on_end(self, life.error)
            life.confirm_stop()

    def _settle(self, life: Life, error: BaseException | None) -> None:
        self._up = self.cell.clock.monotonic() - life.born if life.started else 0.0
        life.fence()
        if error is not None:
            self.cell.note_failure(error, life.stack)
        life.return_message(error)

    async def retire(self, *, abort: bool) -> None:
        """End the life that runs, wait for it, keep its message for the next."""
        life = self._retiring = self._retiring or self.cell.life
        if life is not None:
            await life.end(self.spec.shutdown, abort=abort)
            self._settle(life, None)
            self._retiring = None

    def stuck(self) -> bool:
        """Say whether a handler runs longer than its deadline and the time to cancel it allow."""
        life = self.cell.life
        return life is not None and life.overdue_for() > self.spec.shutdown + 1.0

    def rest(self, state: State) -> None:
        """Note what it does while nothing runs."""
        self.cell.base_state = state

    def close(self, reason: Reason, text: str) -> None:
        """Refuse messages from now on."""
        self.cell.close(reason, State.PARKED if reason is Reason.PARKED else State.STOPPED, text)

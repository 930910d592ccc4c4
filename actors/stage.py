"""The shape that all stages share: follow facts with a cursor, do what the rows say, wait for message or tick."""

import asyncio
import contextlib
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Self, TypeVar, cast

from pykka import ActorDeadError

from actors.messages import Crash, Wake
from actors.world import World
from domain.events import Event
from storage import log
from storage.engine import Connection
from storage.errors import StoreAway
from storage.log import Logged
from storage.store import Tx
from supervisors import AsyncioActor, MailboxFull, Tick

P = TypeVar("P")
T = TypeVar("T")
Effect = Callable[[Tx], object]
"""What a fact brings about, as one unit of writing."""

NOTHING: Effect = lambda _tx: None  # noqa: E731
SKIP = 200
"""A cursor is moved over this many facts that its stage does not follow, so that it does not hold back compaction."""
ROUND_S = 5.0
"""A look at the log ends after this time, in seconds, to go on in the next message: its handler has a deadline."""
FATAL = 2
"""Starts without any progress after which the next fact is suspected of ending the process, and put aside."""


class Stage(AsyncioActor):
    """One stage of the work.

    `follows`: facts that are each handed to `on_fact` at least once, in order; what it returns is written together with
    the cursor, so that the effect is there exactly once. A stage to which many facts come has `on_facts` instead.
    `woken_by`: facts after which `work` looks at the rows anew. Facts that arrive while the stage is away wait in the log.
    """

    follows: ClassVar[tuple[type[Event], ...]] = ()
    together: ClassVar[int] = 5000
    """Facts are handled together until they are about this many items: one statement of a move, some 50 ms of the writer."""
    from_now: ClassVar[bool] = False
    """Whether a stage that is new to a store starts at the present end of the log instead of its beginning."""
    woken_by: ClassVar[tuple[type[Event], ...]] = ()
    emits: ClassVar[tuple[type[Event], ...]] = ()
    """Facts that its units write; checked against who takes them before anything starts (actors/wiring.py)."""

    keeps_directories: ClassVar[bool] = False
    """Whether job directories stay until this actor has set its flag for them (storage/barriers.py)."""

    given: tuple[Any, ...]
    """What the constructor was called with; a class that replaces this one is given the same."""

    def __new__(cls, *given: Any) -> Self:
        self = super().__new__(cls)
        self.given = given
        return cast("Self", self)

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.store = world.store
        self._position = 0
        self._starts = 0
        self._alone_to = 0

    @property
    def sweep_s(self) -> float:
        """Longest time between two looks without having been woken, in seconds."""
        return self.world.settings.events.sweep_s

    async def work(self) -> bool:
        """Do what the rows ask for now; True = there is more to do at once."""
        return False

    async def on_fact(self, logged: Logged) -> Effect:
        """Return the effect of one fact; anything raised parks the fact for this stage."""
        return await self.on_facts([logged])

    async def on_facts(self, facts: Sequence[Logged]) -> Effect:
        """Return the effect of several facts in their order, to be committed at once; an effect is not yet in the store
        when the next fact is looked at. If this or the commit fails, each fact is handled alone."""
        raise NotImplementedError(f"{self.name} follows {type(facts[0].fact).__name__} and does not handle it")

    async def on_command(self, message: Any) -> Any:
        """Carry out a command."""
        return await super().on_receive(message)

    async def on_start(self) -> None:
        if self.follows:
            self._position, self._starts = await self.write(self._begin)
        self.world.hear(self.actor_ref, (*self.follows, *self.woken_by))
        self.tick("sweep", self.sweep_s, first=0.0)

    def _begin(self, tx: Tx) -> tuple[int, int]:
        position = log.begin(tx, self.name, from_now=self.from_now)
        return position, log.starts(tx.connection, self.name)

    async def on_receive(self, message: Any) -> Any:
        match message:
            case Wake() | Tick():
                if await self._round():
                    self.actor_ref.tell(Wake(), unique=True)
                return None
            case Crash():
                if not self.world.settings.admin.faults:
                    raise PermissionError("admin.faults is off")
                raise RuntimeError("crashed on command")
        return await self.on_command(message)

    async def write(self, unit: Callable[[Tx], T], cause: int | None = None) -> T:
        """Write on behalf of this stage."""
        return await self.store.write(unit, sender=self.name, cause=cause)

    async def write_together(
        self, unit: Callable[[Tx, Sequence[P]], Sequence[T]], part: P, *, patient: bool = True
    ) -> T:
        """Write what other stages of this kind write alike, together with them where they come at one time; see the store's."""
        return await self.store.write_together(unit, part, sender=self.name, patient=patient)

    def hint(self, actor: str) -> None:
        """Let another stage look at the rows now; one that is away looks anyway when it is back."""
        if self.system is not None:
            with contextlib.suppress(LookupError, ActorDeadError, MailboxFull):
                self.system.ref(actor).tell(Wake(), unique=True)

    async def _round(self) -> bool:
        more = bool(self.follows) and await self._follow()
        return await self.work() or more

    async def _follow(self) -> bool:
        batch = self.world.settings.events.batch
        due, facts, end = await self.store.read(self._look)
        for parked in due:
            await self._try_again(parked)
        until = self.clock.monotonic() + ROUND_S
        for several in self._portions(facts):
            if self.clock.monotonic() > until:
                return True
            if self._starts > FATAL:
                await self._put_aside(several[0], f"{self.name} started {self._starts} times with this fact in hand")
            elif not await self._take(several):
                return True
            self._starts = 0
        if len(facts) < batch and end - self._position >= SKIP:
            await self.write(lambda tx: log.advance(tx, self.name, end))
            self._position = end
        return len(facts) == batch

    def _look(self, connection: Connection) -> tuple[list[Logged], list[Logged], int]:
        """Return parked facts whose pause is over, the next facts, and where the log ends, all at one instant."""
        batch = self.world.settings.events.batch
        due = log.due(connection, self.name, self.clock.time(), batch)
        return due, log.after(connection, self._position, self.follows, batch), log.last(connection)

    def _portions(self, facts: Sequence[Logged]) -> Iterator[list[Logged]]:
        """Yield what is handled at once: each fact alone if the stage says so, or if one of them may be bad."""
        together = type(self).on_facts is not Stage.on_facts and self._starts < FATAL
        portion: list[Logged] = []
        items = 0
        for logged in facts:
            joins = together and logged.id > self._alone_to and not log.unreadable(logged)
            if portion and (not joins or items + len(logged.fact.ids) > self.together):
                yield portion
                portion, items = [], 0
            portion.append(logged)
            items += len(logged.fact.ids) if joins else self.together
        if portion:
            yield portion

    async def _take(self, facts: list[Logged]) -> bool:
        """Handle facts: effect and cursor in one transaction, or a bad one parked and the cursor moved on.

        False = they have to be handled one by one.
        """
        last = facts[-1].id

        def done(tx: Tx) -> None:
            effect(tx)
            log.advance(tx, self.name, last)

        try:
            effect = await self._effect(facts)
            await self.write(done, cause=last)
        except StoreAway:
            raise
        except Exception:
            if len(facts) > 1:
                self.log.exception("facts %d to %d are handled one by one", facts[0].id, last)
                self._alone_to = last
                return False
            self.log.exception("fact %d (%s) is parked", last, type(facts[0].fact).__name__)
            await self._put_aside(facts[0], traceback.format_exc())
        self._position = max(self._position, last)
        return True

    async def _effect(self, facts: Sequence[Logged]) -> Effect:
        if log.unreadable(facts[0]):
            raise ValueError(facts[0].fact.reason)
        async with asyncio.timeout(self.world.settings.events.handler_s):
            return await (self.on_facts(facts) if len(facts) > 1 else self.on_fact(facts[0]))

    async def _put_aside(self, logged: Logged, error: str) -> None:
        pauses = [] if log.unreadable(logged) else list(self.world.settings.events.redelivery_s)

        def aside(tx: Tx) -> None:
            log.park(tx, self.name, logged.id, error, pauses)
            log.advance(tx, self.name, logged.id)

        await self.write(aside)
        self._position = max(self._position, logged.id)
        if pauses:
            self.after(pauses[0], Wake(), key="parked")

    async def _try_again(self, parked: Logged) -> None:
        """Handle one fact that failed before; the try is counted first, in case it ends the process."""
        pauses = list(self.world.settings.events.redelivery_s)

        def done(tx: Tx) -> None:
            effect(tx)
            log.unpark(tx, self.name, parked.id)

        await self.write(lambda tx: log.trying(tx, self.name, parked.id, pauses))
        try:
            effect = await self._effect([parked])
            await self.write(done, cause=parked.id)
        except StoreAway:
            raise
        except Exception:
            error = traceback.format_exc()
            self.log.exception("fact %d (%s) failed again", parked.id, type(parked.fact).__name__)
            await self.write(lambda tx: log.failed_again(tx, self.name, parked.id, error))

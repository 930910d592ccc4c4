"""What every route works with."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pykka

from actors.admin_pages.refusal import Refusal, not_found
from actors.messages import Refused
from actors.world import World
from storage import alerts
from storage.engine import Connection
from storage.views import Unknown
from supervisors import ActorSnapshot, ActorSystem, MailboxFull

T = TypeVar("T")

ASK_S = 10.0
"""Seconds that an actor has to carry out a command."""


KEPT_FOR = 10.0


@dataclass
class Summed:
    """An answer with the time (monotonic) until which it is good enough."""

    answer: Any = None
    good_until: float = float("-inf")
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


@dataclass
class Reloads:
    """The last reload that was asked for here (actors/admin_pages/changing.py), and when (UTC epoch seconds)."""

    task: asyncio.Task[Any] | None = None
    since: float = 0.0

    async def stop(self) -> None:
        """Wait for its answer no longer; the reloader goes on."""
        if self.task is not None and not self.task.done():
            self.task.cancel()
            await asyncio.wait([self.task])


@dataclass(frozen=True)
class Desk:
    """The store, the tree and the settings of the agent that is looked at; `started` in UTC epoch seconds."""

    world: World
    system: ActorSystem
    token: str
    started: float
    restarting: set[Any] = field(default_factory=set)
    reloads: Reloads = field(default_factory=Reloads)
    _summed: dict[str, "Summed"] = field(default_factory=dict)

    @property
    def now(self) -> float:
        """UTC epoch seconds."""
        return self.world.clock.time()

    async def read(self, query: Callable[[Connection], T]) -> T:
        """Ask the store; what is not there is a 404."""
        try:
            return await self.world.store.read(query)
        except Unknown as error:
            raise not_found(str(error)) from None

    async def sum(self, name: str, query: Callable[[Connection], T]) -> T:
        """Ask for sums over the whole store, which may be large: the answer of a moment ago is good enough.

        It is kept for ten times as long as it took, so that open pages, however many, cost a tenth of one core at most.
        """
        kept = self._summed.setdefault(name, Summed())
        async with kept.lock:
            begun = self.world.clock.monotonic()
            if begun >= kept.good_until:
                kept.answer = await self.read(query)
                ended = self.world.clock.monotonic()
                kept.good_until = ended + KEPT_FOR * (ended - begun)
            answer: T = kept.answer
            return answer

    async def ask(self, actor: str, message: object, within: float = ASK_S) -> Any:
        """Give a command to another actor and return its answer, waiting so many seconds."""
        try:
            reply = self.system.ref(actor).ask(message, timeout=within)
            return await reply
        except Refused as error:
            raise Refusal(409, "refused", str(error)) from None
        except LookupError as error:
            raise Refusal(404, "not_found", str(error.args[0] if error.args else error)) from None
        except (TimeoutError, pykka.Timeout):
            raise Refusal(
                504, "no_answer", f"{actor} did not answer in time; it may still carry the command out"
            ) from None
        except (pykka.ActorDeadError, MailboxFull) as error:
            raise Refusal(503, "actor_away", f"{actor} takes no commands now: {error}") from None

    async def record(self, who: str, verb: str, arguments: str, result: str) -> None:
        """Write one line of the audit."""
        await self.world.store.write(lambda tx: alerts.record(tx, who, verb, arguments, result), sender="admin")

    def actors(self) -> dict[str, ActorSnapshot]:
        """Return every actor and group by name, groups before their children."""
        return {actor.name: actor for actor in self.system.snapshot().actors}

"""What every route works with."""

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


@dataclass(frozen=True)
class Desk:
    """The store, the tree and the settings of the agent that is looked at; `started` in UTC epoch seconds."""

    world: World
    system: ActorSystem
    token: str
    started: float
    restarting: set[Any] = field(default_factory=set)

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

    async def ask(self, actor: str, message: object) -> Any:
        """Give a command to another actor and return its answer."""
        try:
            reply = self.system.ref(actor).ask(message, timeout=ASK_S)
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

"""Postmaster: keeps the dead letters of all mailboxes, replays or drops them on command, alerts (PA-012), and publishes what
was to be published later (PA-010).

A message that killed its actor, or found its mailbox full or closed, is written down with its traceback; a hint is not, as it
carries no meaning. What the tree holds when the store is away is written when it is back.
Takes: ReplayLetters, DropLetters. Writes: dead letters, parked facts, alerts, the audit, Published. Settings: events.sweep_s.
"""

import contextlib
from typing import Any

import msgspec
from pykka import ActorDeadError

from actors.messages import ORDERS, DropLetters, LettersChanged, Refused, ReplayLetters, Wake
from actors.stage import Stage
from actors.world import World
from domain.events import MAX_BODY, Published
from storage import alerts, dead_letters, later, log
from storage.dead_letters import Unhandled
from storage.store import Store, Tx
from supervisors import ActorSystem, DeadLetter, Down, MailboxFull, Reason, Tick

HINTS = (Wake, Tick, Down)
"""Messages that mean nothing but "look now": lost, they cost a sweep."""


class Postmaster(Stage):
    emits = (Published,)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._told: tuple[int, int] | None = None

    async def work(self) -> bool:
        if self.system is not None:
            await keep_fresh(self.store, self.system)
        await self._tell()
        await self._publish()
        return False

    async def _publish(self) -> None:
        """Write what was to be published by now; come back for the next one."""
        due = await self.store.read(later.next_at)
        if due is not None and due <= self.clock.time():
            await self.write(later.deliver)
            due = await self.store.read(later.next_at)
        if due is not None:
            self.after(max(0.0, due - self.clock.time()), Wake(), key="later")

    async def on_command(self, message: Any) -> Any:
        match message:
            case ReplayLetters():
                return await self._replay(message)
            case DropLetters():
                return await self._drop(message)
        return await super().on_command(message)

    async def _tell(self) -> None:
        """Keep one alert for as long as anything waits for a person, whoever raised it before a restart."""
        facts, mail = await self.store.read(
            lambda c: (len(log.parked_facts(c, dead_only=True)), len(dead_letters.waiting(c)))
        )
        if (facts, mail) == self._told:
            return
        text = f"{facts} facts and {mail} messages could not be handled; look at them with `dlq list`"

        def tell(tx: Tx) -> None:
            if facts or mail:
                alerts.raise_alert(tx, "warning", "dead-letters", "log", text)
            else:
                alerts.close_alert(tx, "dead-letters", "log")

        await self.write(tell)
        self._told = (facts, mail)

    async def _replay(self, order: ReplayLetters) -> LettersChanged:
        chosen = {letter.id: letter for letter in await self.store.read(dead_letters.waiting)}
        messages = {identity: order_of(chosen[identity].body) for identity in order.mail if identity in chosen}

        def replay(tx: Tx) -> list[int]:
            log.replay(tx, order.facts)
            closed = dead_letters.close(tx, messages)
            alerts.record(tx, order.who, "replay", f"facts {order.facts}, messages {order.mail}", "handed out again")
            return closed

        closed = await self.write(replay)
        for identity in closed:
            await self._send(identity, chosen[identity].actor, messages[identity])
        await self._tell()
        return LettersChanged(facts=order.facts, mail=closed)

    async def _send(self, identity: int, actor: str, message: Any) -> None:
        try:
            if self.system is None:
                raise LookupError("there is no tree")
            self.system.ref(actor).tell(message)
        except (LookupError, ActorDeadError, MailboxFull) as error:
            await self.write(lambda tx: dead_letters.reopen(tx, identity))
            raise Refused(f"message {identity}: {actor} does not take it ({error}); it is kept") from None

    async def _drop(self, order: DropLetters) -> LettersChanged:
        def drop(tx: Tx) -> LettersChanged:
            dropped = LettersChanged(facts=log.drop(tx, order.facts), mail=dead_letters.close(tx, order.mail))
            alerts.record(tx, order.who, "drop", f"facts {order.facts}, messages {order.mail}", str(dropped)[:2000])
            return dropped

        dropped = await self.write(drop)
        await self._tell()
        return dropped


async def keep_fresh(store: Store, system: ActorSystem) -> None:
    """Write down what died since the last time. Raises StoreError; what was not written stays for the next time."""
    fresh = system.dead_letters.fresh
    letters = list(fresh)
    found = [unhandled(letter) for letter in letters if means_something(letter)]
    if found:
        await store.write(lambda tx: dead_letters.keep_all(tx, found), sender="postmaster")
    for letter in letters:
        if fresh and fresh[0] is letter:  # a full ring has pushed it out meanwhile
            fresh.popleft()


def means_something(letter: DeadLetter) -> bool:
    """Whether somebody would miss the message: a hint only if it killed, an ask that expired was told to its asker."""
    if letter.reason is Reason.KILLED_ITS_ACTOR:
        return True
    return letter.reason is not Reason.EXPIRED and not isinstance(letter.message, HINTS)


def unhandled(letter: DeadLetter) -> Unhandled:
    """Return what is written down of a letter."""
    return Unhandled(
        actor=letter.actor,
        type=type(letter.message).__name__,
        body=body_of(letter.message),
        text=repr(letter.message)[:500],
        reason=str(letter.reason),
        error=letter.error,
        traceback=letter.traceback,
        tries=letter.tries,
    )


def body_of(message: Any) -> str:
    """Return a message as JSON, "" for one that is no order of ours or is larger than MAX_BODY."""
    with contextlib.suppress(TypeError, ValueError, msgspec.MsgspecError):
        body = msgspec.json.encode(message)
        if len(body) <= MAX_BODY and type(msgspec.json.decode(body, type=ORDERS)) is type(message):
            return body.decode()
    return ""


def order_of(body: str) -> Any:
    """Return the message of a body. Raises Refused for one that cannot be sent again."""
    try:
        return msgspec.json.decode(body, type=ORDERS)
    except (ValueError, msgspec.MsgspecError) as error:
        raise Refused(f"the message cannot be sent again ({error or 'it was not kept as a whole'}); drop it") from None

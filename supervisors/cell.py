"""The part of an actor that outlives its instances: mailbox, state, counters, watchers."""

import asyncio
import threading
import traceback
from collections import deque
from random import Random
from threading import get_ident
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pykka
from pykka.messages import _ActorStop

from supervisors.clock import Clock, SystemClock
from supervisors.dead_letters import DeadLetter, DeadLetters, Reason
from supervisors.deadlines import Deadlines, deadlines_of
from supervisors.envelope import Ask, Envelope
from supervisors.faults import MailboxFull, Transient
from supervisors.mailbox import EMPTY, Mailbox, MailboxOptions, Overflow, Priority, StopMark
from supervisors.reply import Reply
from supervisors.state import Down, Failure, State
from supervisors.ticks import Tick, Ticker, TickState

if TYPE_CHECKING:
    from supervisors.life import Life
    from supervisors.ref import ActorRef
    from supervisors.run_queue import Doze
    from supervisors.system import ActorSystem


_RANDOM = Random()  # noqa: S311
_NAMING = threading.Lock()


class Cell:
    """Everything of an actor that stays while its instances come and go."""

    __slots__ = (
        "__weakref__", "_stopped", "_ticker", "_urn", "base_state", "clock", "closed", "collapsed", "dead_letters",
        "deadlines", "generation", "handled_before", "inbox", "last_failure", "late_replies", "life", "loop", "mailbox", "mark",
        "name", "paused", "random", "rate", "ref", "registered", "seen", "senders", "system", "thread", "waiter", "watchers",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        mailbox: MailboxOptions,
        *,
        clock: Clock | None = None,
        dead_letters: DeadLetters | None = None,
        random: Random | None = None,
        system: "ActorSystem | None" = None,
    ) -> None:
        self.name = name
        self._urn = ""
        self.mailbox = Mailbox(mailbox)
        self.inbox = self.mailbox.inbox
        self.mark = 0  # depth at which a normal message must take the long way: the next to be noted, or no room
        self.clock: Clock = clock or SystemClock()
        self.dead_letters = dead_letters
        self.system = system
        self.closed: Reason | None = None  # set: nothing is accepted any more
        self.base_state = State.NEW
        self.deadlines: Deadlines | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        self.thread = 0
        self.waiter: asyncio.Future[None] | Doze | None = None  # who is to be woken by a message
        self.senders: deque[asyncio.Future[None]] | None = None  # those that wait for room
        self.paused = False
        self.registered = False  # in pykka's registry
        self.life: Life | None = None
        self.ref: ActorRef[Any]
        self.generation = 0
        self.handled_before = 0  # by earlier lives
        self.seen: tuple[float, int] | None = None  # time and handled at the last look
        self.rate = 0.0
        self.late_replies = 0
        self.collapsed = 0
        self.last_failure: Failure | None = None
        self.random = random or _RANDOM
        self.watchers: dict[str, Cell] | None = None
        self._stopped: threading.Event | None = None
        self._ticker: Ticker | None = None

    @property
    def urn(self) -> str:
        """pykka's name of the actor; made when somebody asks."""
        if not self._urn:
            with _NAMING:
                self._urn = self._urn or uuid4().urn
        return self._urn

    @property
    def stopped(self) -> threading.Event:
        """pykka's flag; made when somebody looks, as it takes more than a kilobyte."""
        if self._stopped is None:
            self._stopped = threading.Event()
            if self.closed is not None:
                self._stopped.set()
        return self._stopped

    @property
    def ticker(self) -> Ticker:
        """The actor's ticks."""
        if self._ticker is None:
            self._ticker = Ticker(self._deliver_tick, self.random)
        return self._ticker

    @property
    def state(self) -> State:
        """What the actor is doing."""
        if self.base_state is not State.RUNNING or self.life is None:
            return self.base_state
        if self.life.current is not EMPTY:
            return State.BUSY
        return State.PAUSED if self.paused else State.IDLE

    @property
    def handled(self) -> int:
        """How many messages were handled."""
        return self.handled_before + (0 if self.life is None else self.life.watch.handled)

    @property
    def blocks(self) -> bool:
        """Say whether senders wait for room."""
        return self.mailbox.options.overflow is Overflow.BLOCK

    def live_on(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run on this loop, called on its thread."""
        self.loop = loop
        self.thread = get_ident()
        self.deadlines = deadlines_of(loop)
        if self.system is None:
            self.clock = getattr(loop, "clock", self.clock)  # a virtual loop has its own

    # pykka's inbox

    def put(self, envelope: Any) -> None:
        """Accept what pykka's own code would put in an inbox."""
        self.mailbox.append(Envelope(envelope.message, envelope.reply_to), Priority.NORMAL)
        self.wake()

    def get(self) -> Any:
        """Refuse: taking a message is the business of the actor's own task."""
        raise NotImplementedError("the mailbox of an AsyncioActor is read by its own task only")

    def empty(self) -> bool:
        """Say whether no message waits."""
        return len(self.mailbox) == 0

    # sending

    def wake(self) -> None:
        """Let the actor look into its mailbox; safe from any thread."""
        if get_ident() == self.thread:
            waiter = self.waiter
            if waiter is not None:
                self.waiter = None
                if not waiter.done():
                    waiter.set_result(None)
        elif self.loop is not None:
            self.loop.call_soon_threadsafe(self._wake_here)

    def _wake_here(self) -> None:
        if get_ident() == self.thread:
            self.wake()

    def accept(self, item: Any, priority: int) -> None:
        """Put an item into the mailbox as the overflow policy allows, wake the actor."""
        mailbox = self.mailbox
        lane = mailbox.lanes[priority]
        depth = len(lane)
        if depth >= mailbox.capacity:
            self._overflow(item, priority)
            return
        mailbox.append(item, priority)
        if priority == Priority.NORMAL:
            self.mark = min(mailbox.capacity, depth + 1 + depth // 8)
        else:
            self.hold_life()
        self.wake()

    def take_in(self, message: Any, priority: int, unique: bool) -> None:
        """Accept a message by the long way: closed, at another level, unique, or deep."""
        if self.closed is not None:
            self.refuse(message)
        elif unique:
            self.accept_unique(Envelope(message, None, priority))
        elif priority != Priority.NORMAL:
            self.accept(Envelope(message, None, priority), priority)
        else:
            self.accept(message, priority)

    def take_in_ask(self, ask: Ask, priority: int) -> None:
        """Accept an ask by the long way; a fault is its answer."""
        if self.closed is not None:
            ask.fail(self.dead())
            return
        ask.priority = priority
        try:
            self.accept(ask, priority)
        except MailboxFull as error:
            ask.fail(error)
        self.end_at(ask)

    def end_at(self, ask: Ask) -> None:
        """Fail the ask at its deadline, unless it is answered before; from any thread."""
        if self.deadlines is None or self.loop is None or ask.deadline is None or ask.done():
            return  # asked before the start: the deadline counts when the turn comes
        if get_ident() == self.thread:
            self.deadlines.add_ask(ask, ask.deadline)
        else:
            self.loop.call_soon_threadsafe(self.deadlines.add_ask, ask, ask.deadline)

    def accept_unique(self, envelope: Envelope) -> None:
        """Put a message into the mailbox unless an equal one waits there."""
        uniques = self.mailbox.uniques
        if envelope.message in uniques:
            self.collapsed += 1
            return
        uniques.add(envelope.message)
        envelope.unique = True
        try:
            self.accept(envelope, envelope.priority)
        except MailboxFull:
            uniques.discard(envelope.message)
            raise

    def refuse(self, message: Any) -> None:
        """Bury a message to a parked actor or in a stopping system; to any other closed one it is an error."""
        if self.closed is Reason.PARKED or (self.system is not None and self.system.stopping):
            self.bury(message, self.closed or Reason.STOPPED)
        else:
            raise self.dead()

    def dead(self) -> pykka.ActorDeadError:
        """Return the error of those who ask a closed actor."""
        return pykka.ActorDeadError(f"{self.ref} not found" + ("" if self.system is None else f": it is {self.state}"))

    def deliver(self, message: Any) -> None:
        """Put a message of the runtime itself before the users' ones, room or not."""
        if self.closed is None:
            self.mailbox.append(message, Priority.URGENT)
            self.hold_life()
            self.wake()

    def stop(self, reply: Reply[bool] | None = None) -> None:
        """Stop after all that was sent before."""
        self.mailbox.append_stop(Envelope(_ActorStop(), reply))
        self.hold_life()
        self.wake()

    def _deliver_tick(self, tick: TickState) -> None:
        self.mailbox.append(Envelope(tick.message), Priority.NORMAL)
        self.wake()

    def _overflow(self, item: Any, priority: int) -> None:
        policy = self.mailbox.options.overflow
        if policy is Overflow.DROP_OLDEST:
            oldest = self.mailbox.drop_oldest(priority)
            if oldest is not EMPTY:
                self.bury(oldest, Reason.DROPPED)
            self.mailbox.append(item, priority)
            self.hold_life()
            self.wake()
        elif policy is Overflow.DEAD_LETTER:
            self.bury(item, Reason.REFUSED)
        else:
            raise MailboxFull(f"{self.name}: {self.mailbox.capacity} messages wait at level {Priority(priority).name}")

    async def room(self, priority: int) -> None:
        """Wait until that level has room."""
        while self.mailbox.is_full(priority) and self.closed is None:
            waiter = asyncio.get_running_loop().create_future()
            if self.senders is None:
                self.senders = deque()
            self.senders.append(waiter)
            self.hold_life()
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self.let_one_send()  # the room it was given goes to the next in line
                raise

    def hold_life(self) -> None:
        """Make the running instance look at what changed before its next message."""
        if self.life is not None:
            self.life.hold = True

    def pause(self, paused: bool) -> None:
        """Take no further message, or go on."""
        self.paused = paused
        self.hold_life()
        self.wake()

    def let_one_send(self) -> None:
        """Wake the sender that waits longest."""
        while self.senders:
            waiter = self.senders.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    # ending

    def note_failure(self, error: BaseException, stack: str = "") -> None:
        """Remember how the actor failed."""
        self.last_failure = Failure(error, self.clock.time(), stack)

    def take_back(self, item: Any, error: BaseException | None, redeliver: int) -> None:
        """Put the message of a life that ended before all others, or bury it when it has killed often enough."""
        envelope = item if isinstance(item, Envelope) else Envelope(item)
        if isinstance(envelope.message, Tick):
            return
        if error is not None and not isinstance(error, Transient):
            envelope.tries += 1
            if envelope.tries > redeliver:
                self.bury(envelope, Reason.KILLED_ITS_ACTOR, error)
                return
        self.mailbox.put_back(envelope)

    def bury(self, item: Any, reason: Reason, error: BaseException | None = None) -> None:
        """Make a dead letter of an item and answer its asker."""
        message, tries = item, 0
        if isinstance(item, Envelope):
            message, tries = item.message, item.tries
            if item.unique:
                self.mailbox.uniques.discard(message)
            if item.reply_to is not None and not item.reply_to.done():
                item.reply_to.fail(error or pykka.ActorDeadError(f"{self.name} did not handle the message: {reason}"))
        if self.dead_letters is not None:
            text = "" if error is None else f"{type(error).__name__}: {error}"
            self.dead_letters.add(DeadLetter(self.name, message, reason, self.clock.time(), tries, text, _trace(error)))

    def disappear(self) -> None:
        """Be dead for all others while the last hook runs, as pykka's actors are; a supervised one may come back."""
        if self.system is None:
            self.closed = Reason.STOPPED
            self.mark = 0
            self.base_state = State.STOPPED
            pykka.ActorRegistry.unregister(self.ref)
            if self._stopped is not None:
                self._stopped.set()

    def close(self, reason: Reason, state: State, text: str) -> None:
        """Accept nothing more, answer what waits, tell who monitors."""
        self.closed = reason
        self.mark = 0
        self.base_state = state
        if self._stopped is not None:
            self._stopped.set()
        self.registered = False
        pykka.ActorRegistry.unregister(self.ref)
        self.clear_ticks()
        for item in self.mailbox.drain():
            self._reject(item, reason)
        while self.senders:
            self.let_one_send()
        watchers, self.watchers = self.watchers or {}, None
        for watcher in watchers.values():
            watcher.deliver(Down(self.name, text))

    def release(self, life: "Life") -> None:
        """Take the cell away from a life; another may follow."""
        if self.life is life:
            self.handled_before += life.watch.handled
            self.life = self.waiter = None

    def clear_ticks(self) -> None:
        """End the ticks."""
        if self._ticker is not None:
            self._ticker.clear()

    def _reject(self, item: Any, reason: Reason) -> None:
        if isinstance(item, StopMark):
            item = item.envelope
        if isinstance(item, Envelope) and isinstance(item.message, _ActorStop):
            if item.reply_to is not None and not item.reply_to.done():
                item.reply_to.set(True)
            return
        message = item.message if isinstance(item, Envelope) else item
        if not isinstance(message, Tick | Down):  # the runtime's own mean nothing to others
            self.bury(item, reason)

    def reopen(self) -> None:
        """Accept messages again after a park."""
        self.closed = None
        if self._stopped is not None:
            self._stopped.clear()


def _trace(error: BaseException | None) -> str:
    return "" if error is None else "".join(traceback.format_exception(error))

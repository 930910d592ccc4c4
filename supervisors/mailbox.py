"""The mailbox of an actor: three levels, bounded, in order within a level."""

import threading
from collections import deque
from enum import Enum, IntEnum
from typing import Any, Final

import msgspec

from supervisors.envelope import Envelope


class Priority(IntEnum):
    """Level of a message; lower levels still get at least one turn in ten."""

    URGENT = 0
    NORMAL = 1
    BULK = 2


class Overflow(Enum):
    """What a full mailbox does with one more message."""

    BLOCK = "block"  # send() waits, tell() raises MailboxFull
    REJECT = "reject"  # both raise MailboxFull
    DROP_OLDEST = "drop-oldest"  # the oldest of that level becomes a dead letter
    DEAD_LETTER = "dead-letter"  # the newcomer becomes a dead letter


class MailboxOptions(msgspec.Struct, frozen=True):
    """Bounds of a mailbox: messages per level, what happens beyond."""

    capacity: int = 1000
    overflow: Overflow = Overflow.BLOCK


EMPTY: Final = object()
_TURNS = 10
_NORMAL_TURN = 4
_BULK_TURN = 9
_UNUSED: Final[deque[Any]] = ()  # type: ignore[assignment]  # most levels are never used; a deque takes 600 bytes
_OPENING: Final = threading.Lock()
_CLOSED: Final[deque[Any]] = deque(maxlen=0)


class StopMark(msgspec.Struct, frozen=True):
    """The place in a level where a stop was asked for."""

    level: int
    envelope: Envelope


class Mailbox:
    """Holds what an actor has not handled yet.

    An item is the message itself, or an Envelope when there is more to say than the message.
    Appending is safe from any thread; taking belongs to the actor.
    """

    __slots__ = (
        "_stop",
        "_turn",
        "_uniques",
        "bulk",
        "capacity",
        "high_water",
        "inbox",
        "lanes",
        "normal",
        "options",
        "urgent",
    )

    def __init__(self, options: MailboxOptions) -> None:
        self.options = options
        self.capacity = options.capacity
        self.high_water = 0
        self._turn = 0
        self._uniques: set[Any] | None = None
        self.inbox: deque[Any] = deque()  # where normal messages are appended, the same for ever
        self._reopen()

    def _reopen(self) -> None:
        """Forget a stop that was asked for; the special levels are empty."""
        self.lanes: list[deque[Any]] = [_UNUSED, self.inbox, _UNUSED]
        # where messages are taken from: the same, until a stop closes them
        self.urgent: deque[Any] = _UNUSED
        self.normal: deque[Any] = self.inbox
        self.bulk: deque[Any] = _UNUSED

    @property
    def uniques(self) -> set[Any]:
        """The messages sent with unique=True that wait here."""
        if self._uniques is None:
            self._uniques = set()
        return self._uniques

    @property
    def special(self) -> bool:
        """Say whether the next item must be taken by `take`, as there is more than the inbox."""
        return bool(self.urgent or self.bulk) or self.normal is not self.inbox

    def __len__(self) -> int:
        urgent, normal, bulk = self.lanes
        return len(urgent) + len(normal) + len(bulk)

    def is_full(self, priority: int) -> bool:
        """Say whether that level has no room left."""
        return len(self.lanes[priority]) >= self.capacity

    def append(self, item: Any, priority: int) -> None:
        """Put an item behind all of its level, room or not."""
        lane = self.lanes[priority]
        if isinstance(lane, tuple):
            lane = self._open(priority)
        lane.append(item)
        self.high_water = max(self.high_water, len(lane))

    def note_depth(self) -> None:
        """Remember the depth if it was never larger."""
        depth = len(self.inbox)
        if depth > self.high_water:
            self.high_water = depth

    def _open(self, priority: int) -> deque[Any]:
        with _OPENING:  # two threads may send the first message of a level at once
            lane = self.lanes[priority]
            if isinstance(lane, tuple):
                lane = self.lanes[priority] = deque()
                self._draw_from(priority, lane)
        return lane

    def _draw_from(self, priority: int, lane: deque[Any]) -> None:
        if priority == Priority.URGENT:
            self.urgent = lane
        elif priority == Priority.NORMAL:
            self.normal = lane
        else:
            self.bulk = lane

    def put_back(self, item: Envelope) -> None:
        """Put an item before all of its level: it had its turn, but its actor died."""
        priority = item.priority
        draw = (self.urgent, self.normal, self.bulk)[priority]
        if draw is _CLOSED:
            draw = deque([StopMark(priority, self._stop)])
            self._draw_from(priority, draw)
        elif isinstance(draw, tuple):
            draw = self._open(priority)
        draw.appendleft(item)

    def drop_oldest(self, priority: int) -> Any:
        """Remove the oldest item of a level; EMPTY when there is none."""
        lane = self.lanes[priority]
        return lane.popleft() if lane and not isinstance(lane[0], StopMark) else EMPTY

    def append_stop(self, envelope: Envelope) -> None:
        """Close every level behind what it holds now: a stop is handled after all that was sent before it."""
        self._stop = envelope
        for level in Priority:
            lane = self.lanes[level]
            (self._open(level) if isinstance(lane, tuple) else lane).append(StopMark(level, envelope))

    def close_level(self, level: int) -> bool:
        """Draw no more from a level that has reached its stop; True when all have."""
        self._draw_from(level, _CLOSED)
        if not (self.urgent is _CLOSED and self.normal is _CLOSED and self.bulk is _CLOSED):
            return False
        for priority, lane in enumerate(self.lanes):  # what came after the stop is for the next instance, if any
            self._draw_from(priority, lane)
        return True

    def take(self) -> Any:
        """Remove the item whose turn it is; EMPTY when there is none."""
        if not self.urgent and not self.bulk:
            normal = self.normal
            return normal.popleft() if normal else EMPTY
        return self._take_in_turn()

    def _take_in_turn(self) -> Any:
        self._turn = turn = (self._turn + 1) % _TURNS
        urgent, normal, bulk = self.urgent, self.normal, self.bulk
        if turn == _BULK_TURN and bulk:
            return bulk.popleft()
        if turn == _NORMAL_TURN and normal:
            return normal.popleft()
        if urgent:
            return urgent.popleft()
        if normal:
            return normal.popleft()
        return bulk.popleft() if bulk else EMPTY

    def drain(self) -> list[Any]:
        """Remove all that is left, in order of level."""
        left: list[Any] = []
        for draw, lane in zip((self.urgent, self.normal, self.bulk), self.lanes, strict=True):
            left.extend(draw)
            if lane is not draw:
                left.extend(lane)
        self._reopen()
        self.inbox.clear()
        self._uniques = None
        return left

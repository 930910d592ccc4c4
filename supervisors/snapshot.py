"""What can be seen of a running system, as plain records ready for JSON."""

import traceback
from typing import TYPE_CHECKING, Literal, cast

import msgspec

from supervisors.cell import Cell
from supervisors.child import ActorChild
from supervisors.envelope import Envelope
from supervisors.mailbox import EMPTY
from supervisors.state import Failure

if TYPE_CHECKING:
    from supervisors.supervisor import Supervisor
    from supervisors.system import ActorSystem


class FailureSnapshot(msgspec.Struct, frozen=True):
    """The last failure of an actor or group."""

    type: str
    text: str
    traceback: str
    when: float


class TickSnapshot(msgspec.Struct, frozen=True):
    """A periodic tick; `due_in` in seconds."""

    name: str
    every: float
    due_in: float


class ActorSnapshot(msgspec.Struct, frozen=True):
    """An actor or a group at one moment; times in seconds."""

    name: str
    kind: Literal["actor", "supervisor"]
    parent: str | None
    state: str
    essential: bool
    restarts: int
    last_failure: FailureSnapshot | None = None
    depth: int = 0
    high_water: int = 0
    capacity: int = 0
    handled: int = 0
    rate: float = 0.0  # messages per second since the last snapshot
    current: str | None = None  # type of the message being handled
    current_age: float = 0.0
    p50: float = 0.0
    p99: float = 0.0
    ticks: tuple[TickSnapshot, ...] = ()
    collapsed: int = 0
    late_replies: int = 0
    strategy: str | None = None
    intensity_left: int | None = None
    children: tuple[str, ...] = ()


class DeadLetterSnapshot(msgspec.Struct, frozen=True):
    """A dead letter as text."""

    actor: str
    type: str
    message: str
    reason: str
    when: float
    tries: int
    error: str
    traceback: str


class DeadLetterCount(msgspec.Struct, frozen=True):
    """How many dead letters of one actor had one reason."""

    actor: str
    reason: str
    count: int


class SystemSnapshot(msgspec.Struct, frozen=True):
    """The whole system at one moment."""

    when: float  # UTC epoch seconds
    uptime: float
    stopping: bool
    actors: tuple[ActorSnapshot, ...]  # groups before their children, in start order
    dead_letters: tuple[DeadLetterSnapshot, ...]
    dead_letter_counts: tuple[DeadLetterCount, ...]
    loop_lag: float  # seconds, last sample
    loop_lag_max: float


def take_snapshot(system: "ActorSystem") -> SystemSnapshot:
    """Look at every member of the system."""
    letters = system.dead_letters
    return SystemSnapshot(
        when=system.clock.time(),
        uptime=system.clock.monotonic() - system.born,
        stopping=system.stopping,
        actors=tuple(_walk(system.root, None)),
        dead_letters=tuple(
            DeadLetterSnapshot(
                letter.actor,
                type(letter.message).__name__,
                repr(letter.message)[:1000],
                letter.reason,
                letter.when,
                letter.tries,
                letter.error,
                letter.traceback,
            )
            for letter in letters
        ),
        dead_letter_counts=tuple(DeadLetterCount(*key, count) for key, count in sorted(letters.counts.items())),
        loop_lag=0.0 if system.loop_watch is None else system.loop_watch.lag,
        loop_lag_max=0.0 if system.loop_watch is None else system.loop_watch.lag_max,
    )


def _walk(group: "Supervisor", parent: str | None) -> list[ActorSnapshot]:
    found = [_of_group(group, parent)]
    for child in group.children.values():
        if isinstance(child, ActorChild):
            found.append(_of_actor(child, group.name))
        else:
            found.extend(_walk(cast("Supervisor", child), group.name))
    return found


def _of_group(group: "Supervisor", parent: str | None) -> ActorSnapshot:
    return ActorSnapshot(
        name=group.name,
        kind="supervisor",
        parent=parent,
        state=group.state,
        essential=group.essential,
        restarts=group.restarts,
        last_failure=_failure(group.last_failure),
        strategy=group.spec.strategy.value,
        intensity_left=group.children_budget.left(group.system.clock.monotonic()),
        children=tuple(group.children),
    )


def _of_actor(child: ActorChild, parent: str) -> ActorSnapshot:
    cell, life = child.cell, child.cell.life
    now = cell.clock.monotonic()
    p50, p99 = (0.0, 0.0) if life is None else life.watch.percentiles(0.5, 0.99)
    cell.mailbox.note_depth()
    item = life.current if life is not None else EMPTY
    message = item.message if isinstance(item, Envelope) else item
    return ActorSnapshot(
        name=child.name,
        kind="actor",
        parent=parent,
        state=cell.state,
        essential=child.essential,
        restarts=child.restarts,
        last_failure=_failure(cell.last_failure),
        depth=len(cell.mailbox),
        high_water=cell.mailbox.high_water,
        capacity=cell.mailbox.capacity,
        handled=cell.handled,
        rate=_rate(cell, now),
        current=None if item is EMPTY else type(message).__name__,
        current_age=0.0 if item is EMPTY or life is None else now - life.watch.since,
        p50=p50,
        p99=p99,
        ticks=tuple(TickSnapshot(name, tick.every, tick.due - now) for name, tick in cell.ticker.ticks.items()),
        collapsed=cell.collapsed,
        late_replies=cell.late_replies,
    )


def _rate(cell: Cell, now: float) -> float:
    then, handled = cell.seen or (cell.system.born if cell.system is not None else now, 0)
    seconds = now - then
    if seconds <= 0:
        return cell.rate
    cell.rate = (cell.handled - handled) / seconds
    cell.seen = (now, cell.handled)
    return cell.rate


def _failure(failure: Failure | None) -> FailureSnapshot | None:
    if failure is None:
        return None
    text = failure.stack + "".join(traceback.format_exception(failure.error))
    return FailureSnapshot(type(failure.error).__name__, str(failure.error), text, failure.when)

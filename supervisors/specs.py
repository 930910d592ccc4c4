"""The supervision tree as data: who is started, in which order, and what follows a failure."""

from collections.abc import Callable, Iterator
from enum import Enum
from typing import TYPE_CHECKING, Union

import msgspec

from supervisors.mailbox import MailboxOptions

if TYPE_CHECKING:
    from supervisors.actor import AsyncioActor


class Strategy(Enum):
    """Which children are restarted when one fails."""

    ONE_FOR_ONE = "one-for-one"  # that one
    ONE_FOR_ALL = "one-for-all"  # all of them
    REST_FOR_ONE = "rest-for-one"  # that one and those started after it


class Restart(Enum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"  # always
    TRANSIENT = "transient"  # after a failure, not after an ordinary stop
    TEMPORARY = "temporary"  # never


class Backoff(msgspec.Struct, frozen=True):
    """Pauses between restarts in seconds: `first`, then base * factor**n up to `cap`, each +- `jitter` of itself."""

    first: float = 0.0
    base: float = 0.5
    factor: float = 2.0
    cap: float = 30.0
    jitter: float = 0.2
    reset_after: float = 300.0

    def delay(self, failures: int, random: float) -> float:
        """Return the pause before restart number `failures` (from 1); `random` is in [0, 1)."""
        if failures <= 1:
            return self.first
        growth = min(self.factor ** min(failures - 2, 64), self.cap / self.base) if self.base else 0.0
        return min(self.base * growth, self.cap) * (1 + self.jitter * (2 * random - 1))


class ChildSpec(msgspec.Struct, frozen=True):
    """One actor of the tree; times in seconds."""

    name: str
    start: Callable[[], "AsyncioActor"]  # makes a fresh instance, called again for every restart
    restart: Restart = Restart.PERMANENT
    essential: bool = True  # over its restart budget: escalate; an optional one is parked with an alert
    shutdown: float = 5.0  # time to end in peace before it is cancelled
    mailbox: MailboxOptions = MailboxOptions()
    handler_deadline: float | None = 30.0  # per message type: `deadlines` of the actor class
    start_timeout: float = 30.0  # for on_start
    redeliver: int = 1  # how often a message that killed its actor is handed out again


class SupervisorSpec(msgspec.Struct, frozen=True):
    """A group of children with one strategy; more than `intensity` restarts in `period` seconds escalate."""

    name: str
    children: tuple[Union[ChildSpec, "SupervisorSpec"], ...]
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 5
    period: float = 60.0
    backoff: Backoff = Backoff()
    essential: bool = True

    def walk(self) -> "Iterator[ChildSpec | SupervisorSpec]":
        """Yield this group and all below it, in start order."""
        yield self
        for child in self.children:
            if isinstance(child, SupervisorSpec):
                yield from child.walk()
            else:
                yield child


def check_names(tree: SupervisorSpec) -> None:
    """Refuse a tree in which two nodes have one name."""
    seen: dict[str, ChildSpec | SupervisorSpec] = {}
    for spec in tree.walk():
        if not spec.name:
            raise ValueError(f"a child of the tree {tree.name!r} has an empty name")
        if spec.name in seen:
            raise ValueError(
                f"duplicate name {spec.name!r} in the tree {tree.name!r}: each actor and group needs its own"
            )
        seen[spec.name] = spec

"""What the actors of one agent share."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pykka import ActorDeadError

from actors.brakes import Brakes
from actors.messages import Wake
from actors.opener import Opener
from actors.progress import Progress
from backends.batch.base import BatchSystem
from backends.channel.hosts import Hosts
from backends.prodmgr.base import ProdMgr
from backends.storage_element.base import StorageElement
from config.settings import Settings
from config.site_settings import Target
from domain.backoff import CURVES, Curve
from domain.events import Event
from storage.backup import Backups
from storage.restoring import Restoration
from storage.sandboxes import Sandboxes
from storage.store import Store
from storage.volumes import Volumes
from supervisors import ActorRef, Clock, MailboxFull


@dataclass(eq=False)
class World:
    """The store, the backends by name, the settings: everything from outside that an actor touches.

    Settings are one value that never changes; another one takes its place, and backends theirs, when the configuration is read
    anew (actors/reloader.py): nobody else sets anything here.
    """

    settings: Settings
    store: Store
    clock: Clock
    sandboxes: Sandboxes
    batches: dict[str, BatchSystem]
    storages: dict[str, StorageElement]
    stage_out: Mapping[str, Sequence[Mapping[str, Any]]]
    managers: dict[str, ProdMgr]
    hosts: Hosts = field(default_factory=lambda: Hosts({}))
    chance: random.Random = field(default_factory=random.SystemRandom)
    brakes: Brakes = field(default_factory=Brakes)
    progress: Progress = field(default_factory=Progress)
    backups: Backups | None = None
    volumes: Volumes | None = None
    curves: Mapping[str, Curve] = field(default_factory=lambda: CURVES)
    restored: Restoration | None = None
    opener: Opener | None = None
    stale: set[str] = field(default_factory=set)
    """Actors that keep something of settings which are not in force any more."""
    doing: str = ""
    """What a reload waits for at the moment; "" = none is under way."""
    _hearers: dict[type[Event], dict[str, ActorRef[Any]]] = field(default_factory=dict)

    @property
    def configured(self) -> Settings:
        """The settings without targets that are on their way out of the configuration."""
        return self.settings if self.opener is None else self.opener.loaded.settings

    def hear(self, ref: ActorRef[Any], kinds: tuple[type[Event], ...]) -> None:
        """Wake this actor after every commit with a fact of these kinds."""
        for kind in kinds:
            self._hearers.setdefault(kind, {})[ref.name] = ref

    def unhear(self, name: str) -> None:
        """Wake it no more: it is gone."""
        for hearers in self._hearers.values():
            hearers.pop(name, None)

    def tell_hearers(self, kinds: frozenset[type[Event]]) -> None:
        """Called by the store after each commit."""
        hearers = {name: ref for kind in kinds for name, ref in self._hearers.get(kind, {}).items()}
        for name in sorted(hearers):  # a set has no order, and a simulated history must have one
            try:
                hearers[name].tell(Wake(), unique=True)
            except (ActorDeadError, MailboxFull):
                continue  # only a hint: its sweep finds the work

    def targets(self) -> dict[str, tuple[str, Target]]:
        """Return site and settings of every target, by name."""
        return {
            name: (site, target)
            for site, place in self.settings.sites.items()
            for name, target in place.targets.items()
        }

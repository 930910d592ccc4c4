"""Looks before anything is copied whether its destination answers and has room, and keeps room for what is under way (PA-317).

A place that is full or away uses up no try of a transfer: what goes there waits, `why` says for what, an alert when it lasts.
A place of which nobody can say how full it is is sent to until it refuses, and then left alone for a growing time.
"""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

from actors.messages import Wake
from actors.stage import Stage
from backends.storage_element.base import StorageError
from domain.room import AWAY, FULL, SCRATCH, Room, Shut, full, pause_s
from storage import alerts, transfers
from storage.store import Tx
from storage.transfers import Transfer

LASTS_S = 600.0
"""From this time on it is a warning that a place is full or away, in seconds: before, it may well pass."""
ANSWER_S = 60.0
"""A place that says nothing for so long when it is asked for its room does not answer, in seconds."""


class _Place:
    """What is known of one place; times are monotonic, in seconds."""

    def __init__(self) -> None:
        self.room = Room()
        self.looked_at = float("-inf")
        self.looking: asyncio.Task[None] | None = None
        self.under_way = 0
        self.shut: Shut | None = None
        self.since = 0.0
        self.until = float("-inf")
        """Nobody looks before this time."""
        self.refusals = 0

    def close(self, shut: Shut, now: float, for_s: float) -> None:
        """Send nothing there for so long, and until a look has found it well."""
        if self.shut is None:
            self.since = now
        self.shut, self.until = shut, now + for_s


class Rooms:
    """The room of every place, for the stage that moves files."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._world, self._clock = stage.world, stage.world.clock
        self._settings = stage.world.settings.transfer
        self._scratch = Path(stage.world.settings.agent.state)
        self._places: dict[str, _Place] = {}
        self._told: dict[str, tuple[str, str]] | None = None
        """Code and level of the open alert by place; None before the first look."""

    async def close(self) -> None:
        """End the looks that are under way."""
        looks = [place.looking for place in self._places.values() if place.looking is not None]
        for look in looks:
            look.cancel()
        await asyncio.gather(*looks, return_exceptions=True)

    def admit(self, tasks: Sequence[Transfer]) -> list[Transfer]:
        """Return those for which every place on their way has room. A file never overtakes one that waits for room there."""
        going: list[Transfer] = []
        asked: dict[str, Room] = {}
        short: dict[str, Shut] = {}
        for task in tasks:
            ways = self._ways(task)
            known = [self._known(name) for name in ways]  # each of them is looked at, if it has to be
            if not all(known):
                continue
            for name in ways:
                room = asked.setdefault(name, self._place(name).room)
                if name not in short and not room.holds(task.size):
                    short[name] = full(name, room, task.size)
            if not any(name in short for name in ways):
                asked |= {name: asked[name].promise(task.size) for name in ways}
                going.append(task)
        for name in asked:
            place = self._place(name)
            if name in short:
                place.close(short[name], self._clock.monotonic(), self._settings.look_s)
            else:
                place.shut = None
        return going

    def begun(self, task: Transfer) -> None:
        """Keep room for a try."""
        for name in self._ways(task):
            place = self._place(name)
            place.room = place.room.promise(task.size)
            place.under_way += task.size

    def ended(self, task: Transfer) -> None:
        """A try is over, however; whoever waits for room looks again."""
        for name in self._ways(task):
            place = self._place(name)
            place.under_way -= task.size
            if place.shut is not None and place.shut.code == FULL and not place.refusals:
                place.looked_at, place.until = float("-inf"), min(place.until, self._clock.monotonic())

    def arrived(self, task: Transfer) -> None:
        """The destination has taken a file whole."""
        self._place(task.destination).refusals = 0

    def refused(self, task: Transfer, said: str) -> float:
        """The destination is full, whatever it told; return for how long it is left alone, in seconds."""
        place, now = self._place(task.destination), self._clock.monotonic()
        if place.until <= now:
            place.refusals += 1
            pause = pause_s(place.refusals, self._settings.retry_base_s, self._settings.retry_cap_s)
            place.close(Shut(FULL, f"{task.destination} has no room: {said}"), now, pause)
        return place.until - now

    async def silent(self, task: Transfer) -> str:
        """Ask destination and source of a try that failed; return which one does not answer, and what is wrong, or ""."""
        for name in (task.destination, task.source):
            place = self._place(name)
            await asyncio.wait([place.looking or self._look(name)])
            if place.shut is not None and place.shut.code == AWAY:
                return place.shut.text
        return ""

    def _ways(self, task: Transfer) -> list[str]:
        """Return the places in which a task needs room."""
        source = self._world.storages.get(task.source)
        through = source is not None and source.local_path(task.lfn) is None
        return [task.destination, SCRATCH] if through else [task.destination]

    def _place(self, name: str) -> _Place:
        return self._places.setdefault(name, _Place())

    def _known(self, name: str) -> bool:
        """Whether the last look still holds and found the place well; if not, look."""
        place, now = self._place(name), self._clock.monotonic()
        over = now - place.looked_at >= self._settings.look_s or place.looked_at < place.until
        if over and place.looking is None and now >= place.until:
            self._look(name)
        return not over

    def _look(self, name: str) -> asyncio.Task[None]:
        place = self._place(name)
        place.looking = asyncio.create_task(self._looked(name, place), name=f"room of {name}")
        return place.looking

    async def _looked(self, name: str, place: _Place) -> None:
        promised = place.under_way
        try:
            async with asyncio.timeout(ANSWER_S):
                free = await self._free(name)
        except (StorageError, TimeoutError, OSError) as error:
            free = None
            if not isinstance(error, StorageError) or error.transient:
                self._stage.log.info("%s does not answer: %s", name, error)
                shut = Shut(AWAY, f"{name} does not answer: {str(error) or f'no word for {ANSWER_S:g} s'}")
                place.close(shut, self._clock.monotonic(), self._settings.look_s)
                return
        except Exception:
            free = None
            self._stage.log.exception("the room of %s is not known", name)
        finally:
            place.looking = None
            self._stage.actor_ref.tell(Wake(), unique=True)
        if place.shut is not None and place.shut.code == AWAY:
            place.shut = None
        place.room, place.looked_at = Room(free, promised), self._clock.monotonic()

    async def _free(self, name: str) -> int | None:
        if name == SCRATCH:
            return await asyncio.to_thread(self._here)
        storage = self._world.storages.get(name)
        return None if storage is None else await storage.free()

    def _here(self) -> int:
        """Return how much may be written before the agent's own disk is so full that no new work is taken on."""
        usage = shutil.disk_usage(self._scratch)
        mark = self._world.settings.disk.intake_percent
        return max(0, int((usage.used + usage.free) * mark / 100.0) - usage.used)

    async def tell(self) -> None:
        """Keep an alert for each place that something waits for."""
        shut = {name: place for name, place in self._places.items() if place.shut is not None}
        if not shut and self._told == {}:
            return
        wanted, open_now = await self._stage.store.read(lambda c: (transfers.expected(c), alerts.open_alerts(c)))
        told = {one.subject: (one.code, one.level) for one in open_now if one.code in (FULL, AWAY)}
        told = told if self._told is None else self._told
        now = self._clock.monotonic()
        due = {
            name: (place.shut.code, "warning" if now - place.since >= LASTS_S else "info")
            for name, place in shut.items()
            if place.shut is not None and (name in wanted or (wanted and name == SCRATCH))
        }
        await self._write(due, told)
        self._told = due

    async def _write(self, due: dict[str, tuple[str, str]], told: dict[str, tuple[str, str]]) -> None:
        texts = {name: place.shut.text for name, place in self._places.items() if place.shut is not None}

        def write(tx: Tx) -> None:
            for name, (code, _) in told.items():
                if name not in due or due[name][0] != code:
                    alerts.close_alert(tx, code, name)
            for name, (code, level) in due.items():
                if told.get(name) != (code, level):
                    alerts.raise_alert(tx, level, code, name, texts[name])

        if due != told:
            await self._stage.write(write)

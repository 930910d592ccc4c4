"""Transfer: brings merged files to where they are wanted, verified, under their own name and never over another.

Each try has a fence of its own and writes to a temporary name that carries it; what an older try does later changes nothing.
Takes: RetryTransfers, CancelTransfers. Woken by: TransfersWanted. Writes: TransfersPlanned ... TransfersSafe, TransfersWaiting,
TransfersParked, TransfersQuarantined, TransfersCancelled, alerts.
Settings: the [transfer] table.
"""

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from actors.messages import CancelTransfers, Changed, RetryTransfers, Wake
from actors.progress import LOOK_S, Copy, fence
from actors.room import Rooms
from actors.stage import Stage
from actors.world import World
from backends.storage_element.base import Birth, Checksums, Landed, StorageElement, StorageError
from domain import events as e
from domain.events import TransfersReady, TransfersWaiting, TransfersWanted
from domain.transfer import TransferState
from storage import alerts, transfers
from storage.engine import Connection
from storage.errors import StoreAway
from storage.store import Tx
from storage.transfers import Transfer as Task

SMALL_BYTES = 10_000_000
SMALL_IN_ONE_PLACE = 25
"""So many files below SMALL_BYTES go in the place of one: they cost round trips, and go together in one run of a mover (TX-10)."""
OLDER = 10
"""Of so many earlier tries of a file what they may have left is removed before the next one."""
PARKED_S = 3600.0
"""A transfer that only a person can mend is looked at again after this, in seconds: perhaps somebody has."""


class Transfer(Stage):
    emits = (
        e.TransfersOffered,
        e.TransfersPlanned,
        e.TransfersReady,
        e.TransfersMoving,
        e.TransfersLanded,
        e.TransfersVerified,
        e.TransfersSafe,
        e.TransfersWaiting,
        e.TransfersParked,
        e.TransfersQuarantined,
        e.TransfersCancelled,
    )
    woken_by = (TransfersWanted, TransfersReady, TransfersWaiting)

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.settings = world.settings.transfer
        self._movers: dict[int, asyncio.Task[None]] = {}
        self._active: Counter[str] = Counter()
        self._rooms = Rooms(self)
        self._watching: asyncio.Task[None] | None = None
        self._clearing: list[asyncio.Task[None]] = []
        self._scratch = Path(world.settings.agent.state) / "scratch"
        self._stuck: dict[tuple[TransferState, str], int] | None = None
        """How many wait for a person, as the alerts say; None before the first look."""

    @property
    def sweep_s(self) -> float:
        return self.settings.sweep_s

    async def on_start(self) -> None:
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)
        await super().on_start()

    async def on_stop(self) -> None:
        tasks = [*self._movers.values(), *self._clearing, *([self._watching] if self._watching else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._rooms.close()

    async def on_failure(self, *_: object) -> None:
        await self.on_stop()

    async def work(self) -> bool:
        now = self.clock.time()
        for task in await self.store.read(lambda c: transfers.load(c, [TransferState.MOVING, TransferState.LANDED])):
            if task.id not in self._movers:
                self._start(task, self._take_up(task))
        due = await self.store.read(lambda c: transfers.due(c, now))
        if due:
            await self.write(lambda tx: transfers.offer(tx, [task.id for task in due]))
        ready = [task for task in await self.store.read(self._startable) if task.id not in self._movers]
        await self._begin_tries(self._rooms.admit(ready))
        self._watch()
        await self._tell()
        await self._rooms.tell()
        wake_at = await self.store.read(transfers.next_wake)
        if wake_at is not None:
            self.after(max(0.0, wake_at - now), Wake(), key="pause")
        return bool(due)

    def _watch(self) -> None:
        """Have those looked at that are under way for long (TX-10)."""
        if self._movers:
            self.after(LOOK_S, Wake(), key="progress")
        due = self.world.progress.due(self.clock.monotonic())
        if due and (self._watching is None or self._watching.done()):
            self._watching = asyncio.create_task(self._watched(due), name="progress of transfers")

    async def _watched(self, copies: Sequence[Copy]) -> None:
        await self.world.progress.look(copies, self.world.storages, self.clock)
        if found := [(copy.task, copy.text()) for copy in copies if copy.text()]:
            with suppress(StoreAway):
                await self.write(lambda tx: transfers.note(tx, found))

    async def _tell(self) -> None:
        """Keep an alert for each destination where transfers wait for a person."""
        stuck = await self.store.read(transfers.stuck)
        if stuck == self._stuck:
            return

        def tell(tx: Tx) -> None:
            for state, destination in {*stuck, *(self._stuck or self._open(tx.connection))}:
                if count := stuck.get((state, destination), 0):
                    text = (
                        f"{count} to {destination} wait for you: `transfers list`, `why transfer:ID`, `transfers retry`"
                    )
                    alerts.raise_alert(tx, "warning", f"transfers-{state}", destination, text)
                else:
                    alerts.close_alert(tx, f"transfers-{state}", destination)

        await self.write(tell)
        self._stuck = stuck

    def _open(self, connection: Connection) -> set[tuple[TransferState, str]]:
        """Return what an earlier life has alerts of."""
        states = {f"transfers-{state}": state for state in transfers.STOPPED}
        found = alerts.open_alerts(connection)
        return {(states[alert.code], alert.subject) for alert in found if alert.code in states}

    async def on_command(self, message: Any) -> Any:
        match message:
            case RetryTransfers():
                return await self._order(message, transfers.RETRIED, transfers.again)
            case CancelTransfers():
                return await self._order(message, transfers.CANCELLED, transfers.cancel)
        return await super().on_command(message)

    async def _order(
        self,
        order: RetryTransfers | CancelTransfers,
        states: Sequence[TransferState],
        step: Callable[[Tx, list[int], str], list[int]],
    ) -> Changed:
        def which(connection: Connection) -> list[int]:
            return transfers.chosen(connection, states, order.ids, order.destination)

        if order.dry_run:
            return Changed(ids=await self.store.read(which))

        def act(tx: Tx) -> list[int]:
            moved = step(
                tx, which(tx.connection), f"{order.who}: {order.reason}" if order.reason else f"by {order.who}"
            )
            what = str(order.ids or order.destination)
            alerts.record(tx, order.who, type(order).__name__, what, f"{len(moved)} of them")
            return moved

        moved = await self.write(act)
        for identity in moved:
            if identity in self._movers:
                self._movers[identity].cancel()
        if step is transfers.cancel and moved:
            self._clearing.append(asyncio.create_task(self._cleared(moved), name="clear cancelled transfers"))
        self.actor_ref.tell(Wake(), unique=True)
        return Changed(ids=moved)

    async def _cleared(self, cancelled: list[int]) -> None:
        """Remove what the tries of cancelled transfers left under their temporary names, if the destination lets us."""
        await asyncio.gather(*(self._movers[one] for one in cancelled if one in self._movers), return_exceptions=True)
        for task in await self.store.read(lambda c: transfers.named(c, cancelled)):
            try:
                await self._forget(task, task.fence + 1)
            except StorageError as error:
                self.log.warning(
                    "transfer %d is cancelled; %s may keep a part of it: %s", task.id, task.destination, error
                )
        self._clearing = [one for one in self._clearing if one is not asyncio.current_task()]

    def _startable(self, connection: Connection) -> list[Task]:
        """Return the oldest ready tasks to each destination, as many as there are places for."""
        found: list[Task] = []
        for destination in transfers.destinations(connection, TransferState.READY):
            room = self.settings.max_active * SMALL_IN_ONE_PLACE - self._active[destination]
            found += fitting(transfers.ahead(connection, TransferState.READY, destination, room), room)
        return found

    async def _begin_tries(self, tasks: Sequence[Task]) -> None:
        begun = await self.write(lambda tx: [transfers.begin(tx, task) for task in tasks]) if tasks else []
        for moving in begun:
            if moving is not None:
                self._start(moving, self._carry(moving))

    def _start(self, task: Task, work: Coroutine[Any, Any, None]) -> None:
        self._active[task.destination] += weight(task)
        self._rooms.begun(task)
        self.world.progress.begun(task, self.clock.monotonic())
        self._movers[task.id] = asyncio.create_task(self._run(task, work), name=f"transfer {task.id}")

    async def _run(self, task: Task, work: Coroutine[Any, Any, None]) -> None:
        """Do one piece of work on a task; whatever goes wrong is booked, or found again by the next sweep."""
        try:
            async with asyncio.timeout(self.settings.deadline_s):
                await work
        except StorageError as error:
            await self._failed(task, error)
        except (TimeoutError, OSError) as error:
            await self._failed(task, StorageError(str(error) or "no end in time", kind="transient"))
        except StoreAway as error:
            self.log.warning("transfer %d: %s", task.id, error)
        except Exception as error:
            self.log.exception("transfer %d", task.id)
            await self._failed(task, StorageError(f"{type(error).__name__}: {error}", kind="transient"))
        finally:
            self._active[task.destination] -= weight(task)
            self._rooms.ended(task)
            self.world.progress.ended(task)
            del self._movers[task.id]
            self.actor_ref.tell(Wake(), unique=True)

    async def _take_up(self, task: Task) -> None:
        """Go on with a try that our own end cut short: adopt what was published whole, else start anew."""
        storage = self._at(task.destination)
        published = task.state is TransferState.LANDED and await storage.size(task.lfn) == task.size
        if published and await storage.checksums(task.lfn) == _birth(task).checksums:
            await self.write(lambda tx: transfers.verified(tx, task, "adopted, read back"))
            return
        await storage.discard(task.lfn, fence(task))
        reason = "its mover was ended with the agent or the actor"
        await self.write(lambda tx: transfers.wait(tx, task, tx.now, reason, counted=False))

    def _at(self, site: str) -> StorageElement:
        try:
            return self.world.storages[site]
        except KeyError:
            raise StorageError(f"site {site!r} is no longer configured", kind="permission") from None

    async def _carry(self, task: Task) -> None:
        """One try: copy, compare, publish, book."""
        source, destination = self._at(task.source), self._at(task.destination)
        birth = _birth(task)
        if await destination.size(task.lfn) is not None:
            await self._adopt(task, destination, birth.checksums)
            return
        await self._forget(task, task.fence)
        async with self._at_hand(source, task, birth.checksums) as path:
            landed = await self._received(path, task, birth)
        if await self._write(transfers.landed, task):
            await destination.publish(landed, task.lfn)
            await self._write(lambda tx, same: transfers.verified(tx, same, landed.method), task)
            self._rooms.arrived(task)

    async def _forget(self, task: Task, before: int) -> None:
        """Remove what tries of fences before this one left at the destination: they are over and write no more (TX-07)."""
        for older in range(max(1, before - OLDER), before):
            await self._at(task.destination).discard(task.lfn, fence(task._replace(fence=older)))

    async def _received(self, path: Path, task: Task, birth: Birth) -> Landed:
        """Copy to the destination; raise StorageError that says which end is wrong if other bytes lie there."""
        source, destination = self._at(task.source), self._at(task.destination)
        try:
            landed = await destination.receive(path, task.lfn, fence(task), birth)
            if Birth(landed.size, landed.checksums) == birth:
                return landed
            await destination.discard(task.lfn, fence(task))
            found = f"{landed.size} bytes with {landed.checksums}"
        except StorageError as error:
            if error.kind != "integrity":
                raise
            found = str(error)
        raise StorageError(f"{await _blame(source, task, birth.checksums)}: {found}", kind="integrity")

    @asynccontextmanager
    async def _at_hand(self, source: StorageElement, task: Task, expected: Checksums) -> AsyncIterator[Path]:
        """Yield the file on this machine: where it lies, or a copy that is gone afterwards."""
        path = source.local_path(task.lfn)
        if path is not None:
            yield path
            return
        self._scratch.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self._scratch, ignore_cleanup_errors=True) as directory:
            copy = Path(directory) / "file"
            with self.world.progress.fetching(task, copy):
                found = await source.fetch(task.lfn, copy)
            if found != expected:
                raise StorageError(f"the copy at {task.source} differs from the catalogue", kind="integrity")
            yield copy

    async def _write(self, step: Callable[[Tx, Task], bool], task: Task) -> bool:
        return await self.write(lambda tx: step(tx, task))

    async def _adopt(self, task: Task, destination: StorageElement, expected: Checksums) -> None:
        """The name is taken at the destination: by the same file, or by another that is not touched (TX-08)."""
        if await destination.checksums(task.lfn) != expected:
            raise StorageError(f"{task.lfn} stands at {task.destination} with other content", kind="exists")

        def book(tx: Tx) -> bool:
            return transfers.landed(tx, task) and transfers.verified(tx, task, "adopted, read back")

        await self.write(book)

    async def _failed(self, task: Task, error: StorageError) -> None:
        self.log.warning("transfer %d of %s to %s: %s", task.id, task.lfn, task.destination, error)
        tries = task.attempt
        rest, why = await self._excused(task, error)
        pause = min(self.settings.retry_cap_s, self.settings.retry_base_s * 2.0 ** (tries - 1)) * (
            0.5 + self.world.chance.random() / 2
        )

        def book(tx: Tx) -> bool:
            if why:
                return transfers.wait(tx, task, tx.now + rest, why, counted=False)
            if error.kind == "exists":
                return transfers.quarantine(tx, task, str(error))
            if error.kind == "permission" or tries >= self.settings.max_tries:
                return transfers.park(tx, task, tx.now + PARKED_S, f"{error} (try {tries})")
            return transfers.wait(tx, task, tx.now + pause, f"{error} (try {tries})")

        try:
            await self.write(book)
        except StoreAway as away:
            self.log.warning("transfer %d is taken up by the next sweep: %s", task.id, away)

    async def _excused(self, task: Task, error: StorageError) -> tuple[float, str]:
        """Return for how long to wait, in seconds, and why, if a try failed for want of room or of an answer: none is used up."""
        if error.kind == "space":
            return self._rooms.refused(task, str(error)), str(error)
        why = await self._rooms.silent(task) if error.transient else ""
        return self.settings.look_s, why


def weight(task: Task) -> int:
    """Return how many of the SMALL_IN_ONE_PLACE parts of a place a task takes."""
    return 1 if task.size < SMALL_BYTES else SMALL_IN_ONE_PLACE


def fitting(tasks: Iterable[Task], room: int) -> list[Task]:
    """Return the first tasks for which there is room, in parts of a place. None overtakes one that has to wait for more."""
    filled = accumulate(map(weight, tasks := list(tasks)))
    return [task for task, parts in zip(tasks, filled, strict=True) if parts <= room]


def _birth(task: Task) -> Birth:
    return Birth(task.size, Checksums(task.adler32, task.sha256))


async def _blame(source: StorageElement, task: Task, expected: Checksums) -> str:
    """Say which end is wrong after a copy that does not match the catalogue."""
    if await source.checksums(task.lfn) != expected:
        return f"the copy at {task.source} differs from the catalogue"
    return f"what arrived at {task.destination} differs from the source"

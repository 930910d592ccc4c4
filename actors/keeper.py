"""Keeper: keeps the store small and sound.

Compacts the event log behind everybody who reads it, forgets calls that were answered long ago, adds up rare causes of
failure, gives free room back to the file system, and reads the whole store through once after each start.
Takes: CompactLog. Writes: the baseline of the log, alerts. Settings: events.keep_s, events.calls_keep_s,
events.compact_every_s, events.free_bytes.
"""

from functools import partial
from typing import Any

from actors.brakes import Work
from actors.messages import Compacted, CompactLog, Wake
from actors.messages import Refused as RefusedCommand
from actors.stage import Stage
from actors.world import World
from storage import alerts, causes, compaction, laws, outbox, space
from storage.store import Tx

STEPS = 20
"""Most units of compaction in one go; then others have their turn."""
HELD, HELD_BACK = 10_000, 2.0
"""More facts than this, older than this many times events.keep_s, that somebody still needs are an alert."""


class Keeper(Stage):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.settings = world.settings.events
        self._next_at = 0.0
        self._sound = False
        self._done = Compacted()

    @property
    def sweep_s(self) -> float:
        return min(60.0, self.settings.compact_every_s)

    @property
    def _before(self) -> float:
        return self.clock.time() - self.settings.keep_s

    async def on_command(self, message: Any) -> Any:
        match message:
            case CompactLog():
                return await self._compact_now(message)
        return await super().on_command(message)

    async def _compact_now(self, order: CompactLog) -> Compacted:
        before = self._before
        plan = await self.store.read(lambda c: compaction.plan(c, before))
        if order.dry_run:
            return Compacted(facts=plan.facts, bytes=plan.bytes, held_by=plan.held_by)
        try:
            facts, moves, _ = await self._compact(before)
        except compaction.Refused as error:
            raise RefusedCommand(str(error)) from None
        self.actor_ref.tell(Wake(), unique=True)
        self._next_at = self.clock.monotonic()
        after = await self.store.read(lambda c: compaction.plan(c, before))
        return Compacted(facts=facts, moves=moves, bytes=plan.bytes - after.bytes, held_by=after.held_by)

    async def work(self) -> bool:
        if not self._sound:
            self._sound = True
            await self._read_through()
        await self._add_up_causes()
        if self.clock.monotonic() < self._next_at:
            return False
        try:
            facts, moves, more = await self._compact(self._before)
        except compaction.Refused as error:
            await self._stopped(str(error))
            facts, moves, more = 0, 0, False
        pages = await self.write(lambda tx: space.give_back(tx, self.settings.free_bytes))
        last = self.clock.time() - self.settings.calls_keep_s
        await self.write(lambda tx: outbox.prune(tx, last))
        done = self._done
        self._done = Compacted(facts=done.facts + facts, moves=done.moves + moves, pages=done.pages + pages)
        if more or pages == space.PAGES:
            return True
        await self._finished()
        return False

    async def _add_up_causes(self) -> None:
        """Keep the kinds of failure so few that any question after them is quick (PA-416)."""
        rare = await self.store.read(lambda c: causes.surplus(c, self.clock.time()))
        for start in range(0, len(rare), causes.CHUNK):
            await self.write(partial(causes.add_up, ids=rare[start : start + causes.CHUNK]))
        if rare:
            self.log.info("added up %d rare causes of failure as others", len(rare))

    async def _compact(self, before: float) -> tuple[int, int, bool]:
        facts = moves = 0
        for _ in range(STEPS):
            step = await self.write(lambda tx: compaction.compact(tx, before))
            facts, moves = facts + step.facts, moves + step.moves
            if not step.more:
                return facts, moves, False
        return facts, moves, True

    async def _finished(self) -> None:
        self._next_at = self.clock.monotonic() + self.settings.compact_every_s
        done, self._done = self._done, Compacted()
        if done.facts or done.pages:
            self.log.info("compacted %d facts of %d moves, gave %d pages back", done.facts, done.moves, done.pages)
        late = self.clock.time() - HELD_BACK * self.settings.keep_s
        plan = await self.store.read(lambda c: compaction.plan(c, late))

        def tell(tx: Tx) -> None:
            if plan.held <= HELD:
                alerts.close_alert(tx, "log-held", "log")
            else:
                text = f"the log cannot be compacted beyond fact {plan.goal}: {plan.held_by} needs what follows"
                alerts.raise_alert(tx, "warning", "log-held", "log", text)

        await self.write(tell)

    async def _stopped(self, reason: str) -> None:
        text = f"the log is not compacted: {reason}; look at it with verify"
        self.log.error("%s", text)
        await self.write(lambda tx: alerts.raise_alert(tx, "critical", "log-broken", "log", text))

    async def _read_through(self) -> None:
        """Read every page of the store; a damaged one takes no new work and submits nothing until it is restored."""
        damage = await self.store.read(laws.damaged)
        if not damage:
            await self.write(lambda tx: alerts.close_alert(tx, "store-damaged", "store"))
            return
        text = f"the store is damaged: {damage[0].text}; stop the agent and restore a snapshot (db restore)"
        self.log.critical("%s", text)
        self.world.brakes.hold("store", text, Work.INTAKE, Work.SUBMISSION)
        await self.write(lambda tx: alerts.raise_alert(tx, "critical", "store-damaged", "store", text))

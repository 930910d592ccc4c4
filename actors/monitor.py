"""Monitor: keeps the alerts, proves the books, names what hangs, and watches the disk.

Takes: RaiseAlert, ReplayParked. Follows: what a person should know of. Writes: alerts. Settings: the [monitor] table.
"""

import shutil
from pathlib import Path
from typing import Any

from actors.messages import Changed, RaiseAlert, ReplayParked
from actors.stage import Effect, Stage
from domain import events as e
from storage import alerts, laws, log
from storage.log import Logged
from storage.store import Tx

LEVELS: dict[type[e.Event], tuple[str, str]] = {
    e.JobsExhausted: ("error", "jobs-exhausted"),
    e.JobsLost: ("warning", "jobs-lost"),
    e.FilesInvalidated: ("warning", "files-damaged"),
    e.FileRemovalsFailed: ("warning", "removal-failed"),
    e.TransfersParked: ("error", "transfer-parked"),
    e.TransfersQuarantined: ("critical", "transfer-contradiction"),
    e.AllocationsRevoked: ("error", "allocation-revoked"),
}


class Monitor(Stage):
    follows = tuple(LEVELS)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.settings = world.settings.monitor
        self._verified_at = -1e18

    @property
    def sweep_s(self) -> float:
        return float(self.settings.sweep_s)

    async def on_fact(self, logged: Logged) -> Effect:
        level, code = LEVELS[type(logged.fact)]
        fact = logged.fact
        some = ", ".join(map(str, fact.ids[:10])) + (", ..." if len(fact.ids) > 10 else "")
        text = f"{fact.entity} {some}: {fact.reason or code}"
        return lambda tx: alerts.raise_alert(tx, level, code, f"{fact.entity}s", text)

    async def on_command(self, message: Any) -> Any:
        match message:
            case RaiseAlert():
                order = message
                await self.write(lambda tx: alerts.raise_alert(tx, order.level, order.code, order.subject, order.text))
                return None
            case ReplayParked():
                return await self._replay(message)
        return await super().on_command(message)

    async def _replay(self, order: ReplayParked) -> Changed:
        def replay(tx: Tx) -> None:
            log.replay(tx, order.parked)
            alerts.record(tx, order.who, "replay", str(order.parked), "due now")

        await self.write(replay)
        return Changed(ids=order.parked)

    async def work(self) -> bool:
        await self._dead_letters()
        await self._disk()
        if self.clock.monotonic() - self._verified_at >= self.settings.verify_every_s:
            self._verified_at = self.clock.monotonic()
            await self._verify()
        return False

    async def _dead_letters(self) -> None:
        dead = await self.store.read(lambda c: log.parked_facts(c, dead_only=True))
        if dead:
            text = f"{len(dead)} facts could not be handled; look at them with the command dead-letters"
            await self.write(lambda tx: alerts.raise_alert(tx, "warning", "dead-letters", "log", text))

    async def _disk(self) -> None:
        usage = shutil.disk_usage(Path(self.world.settings.agent.state))
        percent = 100.0 * usage.used / usage.total
        if percent >= self.settings.disk_full_percent:
            text = f"the disk of the agent's state is {percent:.0f} % full"
            await self.write(lambda tx: alerts.raise_alert(tx, "critical", "disk", "state", text))
        else:
            await self.write(lambda tx: alerts.close_alert(tx, "disk", "state"))

    async def _verify(self) -> None:
        now = self.clock.time()
        breaches = await self.store.read(lambda c: laws.check(c, now=now, limits=self._limits()))

        def tell(tx: Tx) -> None:
            for breach in breaches[:20]:
                alerts.raise_alert(tx, "critical", "law-broken", breach.subject, f"{breach.law}: {breach.text}")

        if breaches:
            await self.write(tell)
        self.log.info("the books were checked: %s", f"{len(breaches)} breaches" if breaches else "no breach")

    def _limits(self) -> laws.Limits:
        return laws.Limits(
            handover_s=self.settings.limbo_handover_s,
            outside_s=self.settings.limbo_outside_s,
            overdue_s=self.settings.limbo_overdue_s,
            block_s=2 * self.world.settings.catalogue.block_max_age_s,
        )

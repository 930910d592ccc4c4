"""Monitor: keeps the alerts, proves the books, and names what hangs.

Takes: RaiseAlert. Follows: what a person should know of. Writes: alerts. Settings: the [monitor] table.
"""

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from actors.extra import participants
from actors.messages import RaiseAlert, Wake
from actors.stage import Effect, Stage
from domain import events as e
from storage import alerts, barriers, clock, laws
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


WELL = ("idle", "busy", "running")

HOST_LEVELS = {"blocked": "critical", "refused": "error"}
"""States of a host that only a person can mend, and how loud."""


WHY_ENDED = "they began at moments that are still to come, so the clock was ahead and has been set back"
OPEN_S = 86400.0
"""A flag that is open for longer than this is told of, in seconds."""
FIRST_PROOF_S = 60.0
"""The books are proved this long after a start, in seconds, or after monitor.verify_every_s if that is shorter."""
PAUSE_S = 0.5
"""Time between two laws of a proof, in seconds. Each is a read of its own; while nobody reads, the store's log begins anew
instead of growing (https://sqlite.org/wal.html, checkpoint starvation), and the monitor takes alerts."""


class Monitor(Stage):
    follows = tuple(LEVELS)

    def __init__(self, world: Any) -> None:
        super().__init__(world)
        self.settings = world.settings.monitor
        self._proof_at: float | None = None
        self._law_at = 0.0
        self._unproven: deque[laws.Law] = deque()
        self._breaches: list[laws.Breach] = []
        self._shut_out: set[str] = set()

    @property
    def sweep_s(self) -> float:
        return float(self.settings.sweep_s)

    async def on_facts(self, facts: Sequence[Logged]) -> Effect:
        def tell(tx: Tx) -> None:
            for logged in facts:
                _tell(tx, logged.fact)

        return tell

    async def on_command(self, message: Any) -> Any:
        match message:
            case RaiseAlert():
                order = message
                await self.write(lambda tx: alerts.raise_alert(tx, order.level, order.code, order.subject, order.text))
                return None
        return await super().on_command(message)

    async def work(self) -> bool:
        await self._recovered()
        await self._clock()
        await self._hosts()
        await self._barriers()
        await self._prove()
        return False

    async def _recovered(self) -> None:
        """Close what was said of an actor that runs again, whether it was restarted or the whole agent."""
        told = [alert for alert in await self.store.read(alerts.open_alerts) if alert.code == "actor"]
        if not told or self.system is None:
            return
        well = {actor.name for actor in self.system.snapshot().actors if actor.state in WELL}
        quiet = [
            each.subject for each in told if each.subject in well and each.last_at < self.clock.time() - self.sweep_s
        ]
        if quiet:
            await self.write(lambda tx: _close_all(tx, quiet))

    async def _clock(self) -> None:
        """End the waits that a clock set back has prolonged (REL-08)."""

        def forward(tx: Tx) -> None:
            count = clock.bring_forward(tx)
            alerts.raise_alert(tx, "warning", "clock-set-back", "wall clock", f"{count} waits were ended: {WHY_ENDED}")

        now = self.clock.time()
        if await self.store.read(lambda c: clock.set_back(c, now)):
            await self.write(forward)

    async def _hosts(self) -> None:
        """Alert when a host shows another key or does not let us in; take it back when it does (PA-305)."""
        states = self.world.hosts.states()
        out = {host.host: host for host in states if host.state in HOST_LEVELS}
        back = [host.host for host in states if host.state == "open" and host.host in self._shut_out]

        def book(tx: Tx) -> None:
            for host in out.values():
                alerts.raise_alert(tx, HOST_LEVELS[host.state], f"host-{host.state}", f"host {host.host}", host.reason)
            for name in back:
                for state in HOST_LEVELS:
                    alerts.close_alert(tx, f"host-{state}", f"host {name}")

        if out or back:
            await self.write(book)
            self._shut_out = (self._shut_out | set(out)) - set(back)

    async def _barriers(self) -> None:
        """Name who has kept job directories waiting for more than a day (PA-016)."""
        asked = participants(self.world.settings)
        if not asked:
            return
        late = await self.store.read(lambda c: barriers.missing(c, asked, self.clock.time() - OPEN_S))

        def book(tx: Tx) -> None:
            for each in late:
                text = f"{each.attempts} job directories are kept for {each.participant}, which has not asked for their end"
                alerts.raise_alert(tx, "warning", "barrier-open", each.participant, text)
            for name in set(asked) - {each.participant for each in late}:
                alerts.close_alert(tx, "barrier-open", name)

        await self.write(book)

    async def _prove(self) -> None:
        """Begin a proof of the books when its time has come, or go on with the one under way by one law."""
        now, every = self.clock.monotonic(), self.settings.verify_every_s
        if self._proof_at is None:  # the first proof leaves the machine to what starts
            self._proof_at = now + min(FIRST_PROOF_S, every)
        if now >= self._proof_at and not self._unproven:
            self._proof_at, self._law_at = now + every, now
            self._unproven, self._breaches = deque(laws.LAWS), []
        if not self._unproven or now < self._law_at:
            return
        question = partial(laws.prove, law=self._unproven[0], now=self.clock.time(), limits=self._limits())
        breaches, _ = await self.store.read(question)
        self._breaches += breaches
        self._unproven.popleft()
        if self._unproven:
            self._law_at = self.clock.monotonic() + PAUSE_S
            self.after(PAUSE_S, Wake(), key="proof")
        else:
            await self._proven()

    async def _proven(self) -> None:
        found = self._breaches

        def tell(tx: Tx) -> None:
            for breach in found[:20]:
                alerts.raise_alert(tx, "critical", "law-broken", breach.subject, f"{breach.law}: {breach.text}")

        if found:
            await self.write(tell)
        self.log.info("the books were checked: %s", f"{len(found)} breaches" if found else "no breach")

    def _limits(self) -> laws.Limits:
        return laws.Limits(
            handover_s=self.settings.limbo_handover_s,
            outside_s=self.settings.limbo_outside_s,
            overdue_s=self.settings.limbo_overdue_s,
            block_s=2 * self.world.settings.catalogue.block_max_age_s,
        )


def _tell(tx: Tx, fact: e.Event) -> None:
    level, code = LEVELS[type(fact)]
    some = ", ".join(map(str, fact.ids[:10])) + (", ..." if len(fact.ids) > 10 else "")
    alerts.raise_alert(tx, level, code, f"{fact.entity}s", f"{fact.entity} {some}: {fact.reason or code}")


def _close_all(tx: Tx, subjects: list[str]) -> None:
    for subject in subjects:
        alerts.close_alert(tx, "actor", subject)

"""Drainer: lets the agent run empty on an operator's word, and says what is still under way (OPS-12).

While it drains no new work is taken on, cut or submitted; jobs that run go on to their accounting, merge and transfer. The word
holds over restarts: the open alert is the memory of it.
Takes: Drain, AskDrain. Writes: alerts, the audit. Settings: none.
"""

from typing import Any

from actors.brakes import Work
from actors.messages import AskDrain, Blocker, Drain, Draining
from actors.stage import Stage
from actors.world import World
from domain.job import JobState
from storage import alerts, views
from storage.store import Tx

CODE, SUBJECT = "draining", "agent"
UNDER_WAY = (JobState.SUBMITTING, JobState.PENDING, JobState.RUNNING, JobState.ENDED)
"""Jobs that have to end first; what is only planned, or done, waits in the store for the resumption."""


class Drainer(Stage):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._since = 0.0
        self._reason = ""
        self._begun: tuple[float, int] | None = (
            None  # time (monotonic) and jobs under way when this instance began to count
        )

    async def on_start(self) -> None:
        await super().on_start()
        for alert in await self.store.read(alerts.open_alerts):
            if alert.code == CODE:
                self._hold(alert.first_at, alert.text)

    async def on_command(self, message: Any) -> Any:
        match message:
            case Drain():
                if not message.dry_run:
                    await self._turn(message)
                return await self._state()
            case AskDrain():
                return await self._state()
        return await super().on_command(message)

    async def _turn(self, order: Drain) -> None:
        def turn(tx: Tx) -> None:
            if order.on:
                alerts.raise_alert(tx, "info", CODE, SUBJECT, order.reason)
            else:
                alerts.close_alert(tx, CODE, SUBJECT)
            alerts.record(tx, order.who, "drain" if order.on else "resume", order.reason, "")

        await self.write(turn)
        if order.on:
            self._hold(self.clock.time(), order.reason)
        else:
            self.world.brakes.free(CODE)
            self._since, self._reason, self._begun = 0.0, "", None

    def _hold(self, since: float, reason: str) -> None:
        self.world.brakes.hold(CODE, reason, Work.INTAKE, Work.SUBMISSION)
        self._since, self._reason, self._begun = since, reason, None

    async def _state(self) -> Draining:
        sites = await self.store.read(views.jobs_by_site)
        blockers = [
            Blocker(target=row.target or row.site, state=state, jobs=count)
            for row in sites
            for state, count in sorted(row.states.items())
            if state in UNDER_WAY and count
        ]
        left = sum(blocker.jobs for blocker in blockers)
        return Draining(since=self._since, reason=self._reason, left=left, eta_s=self._eta(left), blockers=blockers)

    def _eta(self, left: int) -> float | None:
        """Return the seconds until nothing is under way at the pace since the first look; None when that says nothing."""
        if not self._since:
            return None
        now = self.clock.monotonic()
        if self._begun is None:
            self._begun = (now, left)
        begun, then = self._begun
        if left == 0:
            return 0.0
        return left * (now - begun) / (then - left) if then > left and now > begun else None

"""Ends a system in phases, each with a time-out: one that overruns is left behind and the next begins."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import msgspec

logger = logging.getLogger("prodagent.system")

STOP_TIMERS = "stop timers"
DRAIN = "drain"
STOP_ACTORS = "stop actors"
_ABANDON_AFTER = 1.0  # seconds for a cancelled phase to end


class Phase(msgspec.Struct, frozen=True):
    """One step of an orderly stop, for example `Phase("flush", store.flush, seconds=10.0, before=STOP_ACTORS)`."""

    name: str
    run: Callable[[], Awaitable[object]]
    seconds: float | None = 10.0  # None: as long as it takes
    before: str | None = None  # the phase it comes before; None: after all others
    skippable: bool = False  # passed over, or cut short, when the system is told to stop at once


def in_order(own: Sequence[Phase], extra: Sequence[Phase]) -> list[Phase]:
    """Put the phases of the program among those of the system; several at one place stay in order."""
    phases = list(own)
    for phase in extra:
        names = [each.name for each in phases]
        if phase.name in names:
            raise ValueError(f"duplicate phase {phase.name!r}: each phase of the stop needs its own name")
        if phase.before is None:
            phases.append(phase)
        elif phase.before in names:
            phases.insert(names.index(phase.before), phase)
        else:
            raise ValueError(
                f"phase {phase.name!r}: got before={phase.before!r}, expected one of {', '.join(map(repr, names))}"
            )
    return phases


class Shutdown:
    """One orderly stop under way."""

    def __init__(self) -> None:
        self.overrun: list[str] = []  # the phases that were not done in time, or failed
        self._hurried = False
        self._cut: asyncio.Task[object] | None = None  # the running phase, if it may be cut short

    def hurry(self) -> None:
        """Skip what may be skipped, from now on."""
        self._hurried = True
        if self._cut is not None:
            self._cut.cancel()

    async def run(self, phases: Sequence[Phase]) -> None:
        """Go through the phases, whatever becomes of each."""
        for phase in phases:
            if phase.skippable and (self._hurried or phase.seconds == 0):
                continue
            logger.info("stop: %s", phase.name)
            task = asyncio.ensure_future(_awaited(phase.run))
            task.set_name(f"stop: {phase.name}")
            self._cut = task if phase.skippable else None
            done, _ = await asyncio.wait({task}, timeout=phase.seconds)
            self._cut = None
            if not done:
                logger.warning("stop: the phase %r was not done in %g s, the next begins", phase.name, phase.seconds)
                self.overrun.append(phase.name)
                task.cancel()
                await asyncio.wait({task}, timeout=_ABANDON_AFTER)
            elif not task.cancelled() and (error := task.exception()) is not None:
                logger.error("stop: the phase %r failed, the next begins", phase.name, exc_info=error)
                self.overrun.append(phase.name)


async def _awaited(run: Callable[[], Awaitable[object]]) -> object:
    return await run()

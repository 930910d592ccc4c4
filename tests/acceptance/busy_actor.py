"""Actor types for the tests of the program: one that is never done, one that writes what nobody takes."""

import asyncio

from actors.stage import Stage
from domain.events import JobsLost


class Busy(Stage):
    """Has always more to do, a little at a time: an orderly stop waits for it as long as it may."""

    async def work(self) -> bool:
        await asyncio.sleep(0.1)
        return True


class Unheard(Stage):
    """Writes a fact of its own that no actor takes."""

    emits = (type("NobodyTakesThis", (JobsLost,), {}, frozen=True, kw_only=True, tag="NobodyTakesThis"),)

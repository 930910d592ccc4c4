"""An actor type that wants to look into job directories before they are removed; used by test_custom_actor.py."""

import asyncio

from actors.stage import Effect, Stage
from domain.events import JobsAccounted
from storage import barriers
from storage.log import Logged

ready = asyncio.Event()


class Archivist(Stage):
    follows = (JobsAccounted,)
    keeps_directories = True

    async def on_fact(self, logged: Logged) -> Effect:
        await ready.wait()
        return lambda tx: barriers.set_flag(tx, self.name, logged.fact.ids)

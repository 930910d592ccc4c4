"""Notifier: posts to a chat webhook when jobs were given up.

Follows: JobsExhausted. Writes: nothing but its cursor. Settings: url, timeout_s.
A post that fails is repeated after the pauses of events.redelivery_s; a post whose success was not noted (the agent was
killed in between) is sent again: the webhook sees each fact at least once.
"""

from typing import Annotated

import aiohttp
import msgspec
from msgspec import Meta

from actors.stage import NOTHING, Effect, Stage
from actors.world import World
from domain.events import JobsExhausted
from storage.log import Logged


class NotifierSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`url`: where the chat takes JSON posts; `timeout_s`: how long one may take, in seconds."""

    url: Annotated[str, Meta(pattern=r"^https?://")]
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0


class Notifier(Stage):
    Settings = NotifierSettings
    follows = (JobsExhausted,)
    from_now = True

    def __init__(self, world: World, settings: NotifierSettings) -> None:
        super().__init__(world)
        self.settings = settings

    async def on_fact(self, logged: Logged) -> Effect:
        text = f"{len(logged.fact.ids)} jobs were given up: {logged.fact.reason}"
        timeout = aiohttp.ClientTimeout(total=self.settings.timeout_s)
        post = {"text": text, "fact": logged.id, "jobs": logged.fact.ids}
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.post(self.settings.url, json=post),
        ):
            return NOTHING

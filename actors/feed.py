"""Feed: asks a site status feed how sites stand, and lets that take effect (PA-212).

It says modes of sites as an operator does, under its own name, and never in place of what a person said or of a trusted site.
An answer that is stale, broken or missing changes nothing: what was said last stays. One that takes more than half of the
sites down at once waits for a person.
Takes: ConfirmFeed. Writes: modes of sites, what they offer, alerts, the audit. Settings: the [feed] table.
"""

import asyncio
from pathlib import Path
from typing import Any

from actors.messages import ConfirmFeed, ControlsChanged, Refused
from actors.stage import Stage
from actors.world import World
from domain import feed
from domain.controls import Kind, Scope
from domain.feed import Answer
from storage import alerts, controls, offers
from storage.engine import Connection
from storage.store import Tx

STALE, DOUBTFUL = "feed-stale", "feed-doubtful"
MAX_BYTES = 10_000_000
AWAY = (OSError, ValueError, TimeoutError)


class Feed(Stage):
    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._started = world.clock.time()
        self._newest = 0.0
        """When the newest answer was made (UTC epoch seconds), 0 before the first one."""
        self._waiting: Answer | None = None
        """The answer that is in doubt."""
        self._told: dict[str, str] | None = None
        """Open alerts by code; None: an earlier life may have left some."""

    @property
    def sweep_s(self) -> float:
        return self.world.settings.feed.poll_s

    @property
    def sites(self) -> list[str]:
        """Sites with a batch target; of others a mode says nothing."""
        return [name for name, site in self.world.settings.sites.items() if site.targets]

    async def work(self) -> bool:
        settings, now = self.world.settings.feed, self.clock.time()
        trouble = "it is older than feed.stale_s"
        try:
            async with asyncio.timeout(settings.deadline_s):
                answer = feed.read(await fetched(settings.url, settings.file), now)
        except AWAY as error:
            trouble = str(error) or type(error).__name__
            self.log.warning("the feed %s cannot be used: %s", settings.source, trouble)
        else:
            if answer.updated >= self._newest and now - answer.updated <= settings.stale_s:
                await self._heed(answer)
            self._newest = max(self._newest, answer.updated)
        await self._judge_age(now - (self._newest or self._started), trouble)
        return False

    async def _judge_age(self, age_s: float, trouble: str) -> None:
        """Tell when the feed has said nothing new for too long; what waits for a person is too old then, too."""
        settings = self.world.settings.feed
        if age_s <= settings.stale_s:
            await self._tell(STALE, "")
            return
        text = f"{settings.source} says nothing new for {age_s / 3600:.1f} h, what it said last stays: {trouble}"
        await self._tell(STALE, text[:500])
        await self._settle()

    async def _settle(self) -> None:
        """Nothing waits for a person any more."""
        self._waiting = None
        await self._tell(DOUBTFUL, "")

    async def _heed(self, answer: Answer) -> None:
        """Let an answer take effect, or let it wait for a person."""
        down = await self._down(answer)
        if feed.doubtful(len(down), len(self.sites)):
            self._waiting = answer
            text = f"it takes {len(down)} of {len(self.sites)} sites down at once: {', '.join(down)}"
            await self._tell(DOUBTFUL, f"{text[:400]}; `confirm-feed` if that is true")
        else:
            await self._apply(answer, self.name)

    async def _down(self, answer: Answer) -> list[str]:
        now = self.clock.time()
        said = await self.store.read(lambda c: controls.load(c, now))
        return feed.follow(answer, said, self.sites, now).down

    async def on_command(self, message: Any) -> Any:
        if not isinstance(message, ConfirmFeed):
            return await super().on_command(message)
        if self._waiting is None:
            raise Refused("no answer of the feed waits to be confirmed")
        answer = self._waiting
        down = await self._down(answer)
        if not message.dry_run:
            await self._apply(answer, message.who)
        return ControlsChanged(subjects=down)

    async def _apply(self, answer: Answer, who: str) -> None:
        """Let an answer take effect, if it changes anything; whatever waited for a person is out of date."""
        known = {site: answer.sites[site] for site in self.sites if site in answer.sites}

        def changes(connection: Connection, now: float) -> tuple[feed.Changes, dict[str, feed.SiteWord]]:
            before = offers.load(connection)
            other = {site: word for site, word in known.items() if offers.of(word) != before.get(site, offers.NO_OFFER)}
            return feed.follow(answer, controls.load(connection, now), known, now), other

        def apply(tx: Tx) -> None:
            follows, other = changes(tx.connection, tx.now)
            for word in follows.say:
                controls.put(tx, word)
                alerts.record(tx, who, "feed", word.subject, f"{word.value}: {word.reason}")
            for site in follows.lift:
                controls.lift(tx, Scope.SITE, site, Kind.MODE)
                alerts.record(tx, who, "feed", site, "as usual again")
            offers.put(tx, other)

        follows, other = await self.store.read(lambda c: changes(c, self.clock.time()))
        if follows.say or follows.lift or other:
            await self.write(apply)
            self.hint("steward")
            self.hint("queue")
        await self._settle()

    async def _tell(self, code: str, text: str) -> None:
        """Open the alert, or close it if there is nothing to tell; only a change is written."""
        if self._told is None:
            there = await self.store.read(alerts.open_alerts)
            self._told = {alert.code: alert.text for alert in there if alert.code in (STALE, DOUBTFUL)}
        if bool(text) == (code in self._told):
            return
        if text:
            await self.write(lambda tx: alerts.raise_alert(tx, "warning", code, "feed", text))
            self._told[code] = text
        else:
            await self.write(lambda tx: alerts.close_alert(tx, code, "feed"))
            del self._told[code]


async def fetched(url: str | None, file: str | None) -> bytes:
    """Return what the feed holds now; raise OSError, or ValueError when it is larger than MAX_BYTES."""
    if url is None:
        return await asyncio.to_thread(_bytes, Path(file or ""))
    import aiohttp  # an agent without such a feed starts without it

    body = bytearray()
    try:
        async with aiohttp.ClientSession() as client, client.get(url, raise_for_status=True) as response:
            async for chunk in response.content.iter_chunked(65_536):
                body += chunk
                _fits(len(body))
    except aiohttp.ClientError as error:
        raise OSError(str(error) or type(error).__name__) from error
    return bytes(body)


def _bytes(file: Path) -> bytes:
    with file.open("rb") as stream:
        found = stream.read(MAX_BYTES + 1)
    _fits(len(found))
    return found


def _fits(size: int) -> None:
    if size > MAX_BYTES:
        raise ValueError(f"got more than {MAX_BYTES} bytes, expected a feed")

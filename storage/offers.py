"""What a feed says that sites offer, slots and software: kept until it says something else (PA-212)."""

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from domain.feed import SiteWord
from storage import schema
from storage.transaction import Tx

table = schema.offer


class Offer(NamedTuple):
    """Cores that a site offers, and tags of its software; None = the feed does not say."""

    slots: int | None
    releases: frozenset[str] | None


NO_OFFER = Offer(None, None)


def load(connection: sa.Connection) -> dict[str, Offer]:
    """Return what each site offers of which the feed has told."""
    return {row.site: Offer(row.slots, _tags(row.releases)) for row in connection.execute(_ALL)}


_ALL = sa.select(table.c.site, table.c.slots, table.c.releases)


def of(word: SiteWord) -> Offer:
    """Return what a feed says that a site offers."""
    return Offer(word.slots, None if word.releases is None else frozenset(word.releases))


def put(tx: Tx, words: Mapping[str, SiteWord]) -> None:
    """Keep what is said of these sites in place of what was said before."""
    for site, word in words.items():
        tx.connection.execute(table.delete().where(table.c.site == site))
        if (offer := of(word)) != NO_OFFER:
            tags = None if offer.releases is None else msgspec.json.encode(sorted(offer.releases)).decode()
            tx.connection.execute(table.insert().values(site=site, slots=offer.slots, releases=tags, at=tx.now))


def forget(tx: Tx) -> None:
    """Nothing is said any more of what sites offer."""
    tx.connection.execute(table.delete())


def _tags(text: str | None) -> frozenset[str] | None:
    return None if text is None else frozenset(msgspec.json.decode(text, type=list[str]))

"""Prove a store: all laws from its rows, and on request the storages behind them."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping

from backends.storage_element.base import StorageElement
from services.verify.storages import TEXTS, Look, Reads
from services.verify.verification import LawLine, Verification
from storage import laws
from storage.engine import Connection
from storage.laws import LAWS, Breach, Law, LedgerRow, Limits
from storage.laws.copies import last_fact_at

Progress = Callable[[str], None]
"""Told what is looked at now; called in the event loop."""


async def verify(
    store: Reads,
    storages: Mapping[str, StorageElement] | None = None,
    *,
    deep: bool = False,
    running: bool = True,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Verification:
    """Return what was found: nothing is repaired, nothing is written.

    An agent may be at work. `storages` by site: each copy on record is looked up there (size; with `deep` also
    checksums, and the database file is read through), and each published merged file must be in the catalogue.
    `running` False: no agent works on this store, so ages are taken at its last fact.
    """
    began = time.monotonic()
    say = progress or _silent
    at, breaches, rows = await _from_rows(store, deep=deep, running=running, limits=limits or Limits(), say=say)
    lines = [(law.name, law.text) for law in LAWS]
    look = Look(store, storages or {}, deep=deep)
    if storages is not None:
        lines += list(TEXTS.items())
        async for seen, found in look.recorded():
            breaches += found
            say(f"{seen:,} copies looked at")
        for site in storages:
            say(f"published files at {site}")
            breaches += await look.published(site)
    counts = Counter(breach.law for breach in breaches)
    return Verification(
        at=at,
        holds=not breaches and all(row.balanced for row in rows),
        seconds=round(time.monotonic() - began, 3),
        ledger=rows,
        laws=[LawLine(name=name, text=text, breaches=counts[name]) for name, text in lines],
        breaches=breaches,
        deep=deep,
        copies=look.copies,
        bytes=look.bytes,
        sites=list(storages or ()),
        unseen=sorted(look.unseen),
        strays=look.strays,
    )


async def _from_rows(
    store: Reads, *, deep: bool, running: bool, limits: Limits, say: Progress
) -> tuple[float, list[Breach], list[LedgerRow]]:
    """Ask all laws about one snapshot."""
    loop = asyncio.get_running_loop()

    def tell(law: Law) -> None:
        loop.call_soon_threadsafe(say, f"law {law.name}")

    def query(connection: Connection) -> tuple[float, list[Breach], list[LedgerRow]]:
        at = time.time() if running else last_fact_at(connection)
        broken = laws.damaged(connection) if deep else []
        breaches, rows = laws.prove(connection, now=at, limits=limits, progress=tell)
        return at, broken + breaches, rows

    return await store.read(query)


def _silent(_: str) -> None:
    """Nobody looks."""

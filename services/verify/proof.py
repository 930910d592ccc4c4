"""Prove a store: all laws from its rows, and on request the storages behind them."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from backends.storage_element.base import StorageElement
from services.verify.storages import TEXTS, Look, Reads
from services.verify.verification import LawLine, Verification
from storage import laws
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
        lines += TEXTS.items()
        breaches += await _from_storages(look, storages, say)
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


async def _from_storages(look: Look, sites: Iterable[str], say: Progress) -> list[Breach]:
    breaches: list[Breach] = []
    async for seen, found in look.recorded():
        breaches += found
        say(f"{seen:,} copies looked at")
    for site in sites:
        say(f"published files at {site}")
        breaches += await look.published(site)
    return breaches


async def _from_rows(
    store: Reads, *, deep: bool, running: bool, limits: Limits, say: Progress
) -> tuple[float, list[Breach], list[LedgerRow]]:
    """Ask all laws, each in a read of its own, two side by side: both databases work outside the interpreter's lock.

    One lane begins with the first law, the other with the last, until they meet.
    """
    at = await store.read(lambda c: time.time() if running else last_fact_at(c))
    damaged = await store.read(laws.damaged) if deep else []
    rest = deque(LAWS)
    found: dict[str, list[Breach]] = {}
    ledger: list[LedgerRow] = []

    async def lane(take: Callable[[], Law]) -> None:
        while rest:
            law = take()
            say(f"law {law.name}")
            question = partial(laws.prove, law=law, now=at, limits=limits)
            found[law.name], rows = await store.read(question)
            ledger.extend(rows)

    lanes = [asyncio.create_task(lane(take)) for take in (rest.popleft, rest.pop)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for one in lanes:
            one.cancel()
        await asyncio.wait(lanes)
    return at, damaged + [breach for law in LAWS for breach in found[law.name]], ledger


def _silent(_: str) -> None:
    """Nobody looks."""

"""What must hold in a simulated history: all laws of the books, and at the end every event exactly once, everywhere."""

import asyncio

from domain.policy import PieceState
from domain.spans import seconds
from services.simulation.database import SimulatedDatabase
from services.simulation.outside import Outside
from services.simulation.scenario import Scenario
from services.verify import verify
from storage import laws, log
from storage.laws import Limits

PATIENCE = 30
"""Looks after which something that waits for the agent itself is forgotten."""


class LawBroken(Exception):
    """A law of the books does not hold; the history ends there."""


def limits(scenario: Scenario) -> Limits:
    """Return how long anything may wait in this scenario: longer than its longest fault lasts."""
    spans = [seconds(each.lasts) for each in scenario.happens if each.lasts is not None]
    leaps = [abs(seconds(each.by)) for each in scenario.happens if each.by is not None]
    away = max(spans, default=0.0) + sum(leaps)
    patience = max(3600.0, PATIENCE * seconds(scenario.pace)) + away
    return Limits(handover_s=patience, outside_s=14 * 86400.0 + away, overdue_s=patience, block_s=3 * 86400.0 + away)


def check_laws(database: SimulatedDatabase, outside: Outside, allowed: Limits) -> None:
    """Raise LawBroken, naming the first offenders, unless every law holds now."""
    now = outside.clock.time()
    breaches = database.ask(lambda c: laws.check(c, now=now, limits=allowed))
    if breaches:
        some = "; ".join(f"{breach.subject} breaks {breach.law}: {breach.text}" for breach in breaches[:5])
        raise LawBroken(f"{len(breaches)} breaches: {some}")


def final(database: SimulatedDatabase, outside: Outside, allowed: Limits, *, done: bool) -> list[str]:
    """Return everything that is wrong at the end of a history; `done`: all of its work is."""
    if not done:
        try:
            check_laws(database, outside, allowed)
        except LawBroken as broken:
            return [str(broken)]
        return []
    found = asyncio.run(verify(database, outside.storages, running=False, limits=allowed))
    wrong = [f"{breach.subject} breaks {breach.law}: {breach.text}" for breach in found.breaches]
    wrong += [f"{row.name}: the ledger does not balance: {row}" for row in found.ledger if not row.balanced]
    for name, batch in outside.batches.items():
        wrong += [f"token {token} was submitted twice to {name}" for token in batch.twice[:5]]
    wrong += _with_manager(database, outside)
    dead = database.ask(lambda c: log.parked_facts(c, dead_only=True))
    wrong += [
        f"{each.type} {each.event_id} could not be handled by {each.subscriber}: {each.error}" for each in dead[:5]
    ]
    return wrong


def _with_manager(database: SimulatedDatabase, outside: Outside) -> list[str]:
    """Compare what the ProdMgr counts with what the agent has catalogued."""
    rows = {row.name: row for row in database.ask(laws.ledger)}
    wrong = []
    for request in outside.books.requests.values():
        merged, lost = request.sum(PieceState.MERGED), request.sum(PieceState.LOST)
        if merged + lost != request.events:
            wrong.append(f"{request.spec.name}: the ProdMgr counts {merged} merged and {lost} lost of {request.events}")
        row = rows.get(f"{request.spec.name}-r{request.number}")
        if row is not None and row.merged < merged:
            wrong.append(f"{row.name}: the ProdMgr was told of {merged} events, the agent has {row.merged} catalogued")
    return wrong

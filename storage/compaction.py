"""Compaction of the event log: old facts give way to what they add up to, and nobody misses one."""

import operator
from collections import Counter
from collections.abc import Sequence
from functools import reduce
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from domain.events import Event, all_events
from domain.transition import StateTable
from domain.types import looked_at
from storage import schema
from storage.baseline import CHUNK, Chunk, Horizon, load, reached, save
from storage.laws.folding import MACHINES
from storage.transaction import Tx

event, cursor, parked, daily = schema.event, schema.cursor, schema.parked, schema.daily

DAY_S = 86_400
FACTS = 500
MOVES = 50_000
"""Most facts, and about as many moved items, in one unit: some 50 ms of the writer."""


class Refused(Exception):
    """The log does not add up; what is wrong with it must not be compacted away."""


class Plan(NamedTuple):
    """What compaction would do now.

    `horizon`: the last fact that is gone already; `goal`: the last that may go; `held_by` says what keeps the next one: its
    age, a subscriber that has not read it, or a parked fact. `facts` of `bytes` (of their bodies) may go; about `held` more
    are old enough and have to stay.
    """

    horizon: int
    goal: int
    facts: int
    bytes: int
    oldest_at: float | None
    held_by: str
    held: int


class Step(NamedTuple):
    """What one unit did; `more`: there is as much again to do."""

    facts: int
    moves: int
    more: bool


class _Ids(msgspec.Struct):
    ids: list[int]


looked_at(_Ids)
_decoder = msgspec.json.Decoder(_Ids)


def plan(connection: sa.Connection, before: float) -> Plan:
    """Return how far the log may be compacted: facts older than `before` that everybody has handled. Reads only."""
    start = reached(connection).event_id
    goal, held_by, old = _bound(connection, start, before)
    going = (event.c.id > start, event.c.id <= goal)
    facts, size, oldest = connection.execute(
        sa.select(
            sa.func.count(), sa.func.coalesce(sa.func.sum(sa.func.length(event.c.body)), 0), sa.func.min(event.c.at)
        ).where(*going)
    ).one()
    return Plan(start, goal, facts, int(size), oldest, held_by, old - goal)


def _bound(connection: sa.Connection, start: int, before: float) -> tuple[int, str, int]:
    """Return the last fact that may go, what keeps the next one, and the last that is old enough."""
    young = connection.execute(
        sa.select(event.c.id).where(event.c.id > start, event.c.at >= before).order_by(event.c.id).limit(1)
    ).scalar_one_or_none()
    last = int(connection.execute(sa.select(sa.func.coalesce(sa.func.max(event.c.id), start))).scalar_one())
    old = last if young is None else young - 1
    bounds = [(old, "nothing" if young is None else "age")]
    slowest = connection.execute(
        sa.select(cursor.c.position, cursor.c.subscriber).order_by(cursor.c.position, cursor.c.subscriber).limit(1)
    ).one_or_none()
    if slowest is not None:
        bounds.append((slowest.position, f"subscriber {slowest.subscriber}, which has read up to {slowest.position}"))
    aside = connection.execute(
        sa.select(parked.c.event_id, parked.c.subscriber, parked.c.next_at).order_by(parked.c.event_id).limit(1)
    ).one_or_none()
    if aside is not None:
        kind = "dead letter" if aside.next_at is None else "parked fact"
        bounds.append((aside.event_id - 1, f"{kind} {aside.event_id} of {aside.subscriber}"))
    goal, held_by = min(bounds, key=operator.itemgetter(0))
    return max(goal, start), held_by, old


def compact(tx: Tx, before: float, most: int = FACTS) -> Step:
    """Fold the oldest facts that may go into the baseline and delete them, in one unit; call it until `more` is false.

    The bound is found anew in this very transaction, so that no subscriber that has just begun misses anything. Raises
    Refused, with nothing changed, at a fact that the state tables forbid or that cannot be read.
    """
    start = reached(tx.connection).event_id
    goal, _, _ = _bound(tx.connection, start, before)
    if goal <= start:
        return Step(0, 0, more=False)
    query = sa.select(event.c.id, event.c.type, event.c.sender, event.c.at, event.c.body)
    rows = list(
        tx.connection.execute(query.where(event.c.id > start, event.c.id <= goal).order_by(event.c.id).limit(most))
    )
    if not rows:
        return Step(0, 0, more=False)
    taken = _take(rows)
    _fold(tx, taken)
    end = taken[-1].row
    tx.connection.execute(event.delete().where(event.c.id > start, event.c.id <= end.id))
    _count(tx, taken)
    return Step(len(taken), sum(len(fact.ids) for fact in taken), more=end.id < goal)


class _Fact(NamedTuple):
    row: Any
    kind: type[Event]
    ids: list[int]


def _take(rows: Sequence[Any]) -> list[_Fact]:
    """Return the facts up to MOVES moves, at least one."""
    kinds = all_events()
    taken: list[_Fact] = []
    moves = 0
    for row in rows:
        if row.type not in kinds:
            raise Refused(f"fact {row.id} is of the unknown type {row.type!r}")
        try:
            ids = _decoder.decode(row.body).ids
        except msgspec.DecodeError as error:
            raise Refused(f"fact {row.id} ({row.type}) cannot be read: {error}") from None
        taken.append(_Fact(row, kinds[row.type], ids))
        moves += len(ids)
        if moves >= MOVES:
            break
    return taken


def _fold(tx: Tx, taken: Sequence[_Fact]) -> None:
    machines = {machine.entity: machine for machine, _ in MACHINES}
    touched: list[Chunk] = []
    for entity, facts in groupby(sorted(taken, key=lambda fact: fact.kind.entity), key=lambda fact: fact.kind.entity):
        if entity in machines:
            touched += _fold_kind(tx, machines[entity], list(facts))
    last = taken[-1].row
    save(tx, touched, Horizon(last.id, last.at))


def _fold_kind(tx: Tx, machine: StateTable[Any], facts: Sequence[_Fact]) -> list[Chunk]:
    """Return the chunks of one kind of item, moved by its facts in their order."""
    words = ["absent", *(str(word) for word in machine.states)]
    codes = {word: code for code, word in enumerate(words)}
    firsts = sorted({identity - identity % CHUNK for fact in facts for identity in fact.ids})
    chunks = {first: Chunk(machine.entity, first, words) for first in firsts}
    chunks |= {chunk.first: chunk for chunk in load(tx.connection, machine.entity, words, firsts)}
    for fact in facts:
        move = machine.move(fact.kind)
        allowed = {codes[source] for source in move.sources or ("absent",)}
        target = codes[move.target]
        for identity in fact.ids:
            place = identity % CHUNK
            chunk = chunks[identity - place]
            if chunk.states[place] not in allowed:
                state = words[chunk.states[place]]
                raise Refused(
                    f"fact {fact.row.id} ({fact.row.type}) is not allowed for {machine.entity} {identity} in state {state}"
                )
            chunk.states[place] = target
            chunk.moves[place] = chunk.moves[place] + 1 & 255
    return list(chunks.values())


def _count(tx: Tx, taken: Sequence[_Fact]) -> None:
    """Add the facts to the daily summary: who wrote how many of which type, and how many items they moved."""
    sums: dict[tuple[int, str, str], Counter[str]] = {}
    for fact in taken:
        key = (int(fact.row.at // DAY_S), fact.row.type, fact.row.sender)
        sums.setdefault(key, Counter()).update(facts=1, items=len(fact.ids))
    for (day, kind, sender), found in sums.items():
        where = reduce(operator.and_, (daily.c.day == day, daily.c.type == kind, daily.c.sender == sender))
        grown = {name: daily.c[name] + found[name] for name in ("facts", "items")}
        if tx.connection.execute(daily.update().where(where).values(grown)).rowcount == 0:
            tx.connection.execute(daily.insert().values(day=day, type=kind, sender=sender, **found))

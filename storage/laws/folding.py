"""Law 8: the state of every item is what its facts add up to."""

from array import array
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from domain.allocation import ALLOCATION_TABLE
from domain.events import Event, all_events
from domain.file import BLOCK_TABLE, FILE_TABLE
from domain.job import JOB_TABLE
from domain.transfer import TRANSFER_TABLE
from domain.transition import StateTable
from domain.workflow import WORKFLOW_TABLE
from storage import schema
from storage.laws.breach import Finding, Scope

MACHINES: tuple[tuple[StateTable[Any], sa.Table], ...] = (
    (WORKFLOW_TABLE, schema.workflow),
    (ALLOCATION_TABLE, schema.allocation),
    (JOB_TABLE, schema.job),
    (FILE_TABLE, schema.file),
    (BLOCK_TABLE, schema.block),
    (TRANSFER_TABLE, schema.transfer),
)
ABSENT = 0
"""State code of an item that no fact has made; the others count from 1 in the order of the enumeration."""


class _Ids(msgspec.Struct):
    """The part of a fact that the fold reads."""

    ids: list[int]


class Fold:
    """The states of one kind of item, by id: one byte for the state, four for the number of moves."""

    def __init__(self, machine: StateTable[Any]) -> None:
        self.machine = machine
        self.words = ["absent", *(str(word) for word in machine.states)]
        self.codes = {word: code for code, word in enumerate(self.words)}
        self.states = bytearray(1024)
        self.moves = array("I", bytes(4 * 1024))
        self._rules = {event: self._rule(event) for event in machine.moves}

    def _rule(self, event: type[Event]) -> tuple[bytes, int]:
        """Return for each code whether the event may leave it, and the code it leads to."""
        sources, target = self.machine.moves[event]
        allowed = bytearray(len(self.words))
        for source in sources or ("absent",):
            allowed[self.codes[source]] = 1
        return bytes(allowed), self.codes[target]

    def apply(self, event: type[Event], ids: list[int]) -> list[tuple[int, str]]:
        """Move the items; return those that the table forbids to move, with their state. They move all the same."""
        allowed, target = self._rules[event]
        if (top := max(ids)) >= len(self.states):
            more = max(top + 1 - len(self.states), len(self.states))
            self.states.extend(bytes(more))
            self.moves.extend(array("I", bytes(4 * more)))
        states, moves = self.states, self.moves
        wrong: list[tuple[int, str]] = []
        for identity in ids:
            if not allowed[states[identity]]:
                wrong.append((identity, self.words[states[identity]]))
            states[identity] = target
            moves[identity] += 1
        return wrong


def fold(scope: Scope) -> Iterator[Finding]:
    """Find facts that the tables forbid, and items whose state or number of moves is not what their facts add up to."""
    kinds = all_events()
    folds = {machine.entity: Fold(machine) for machine, _ in MACHINES}
    decoder = msgspec.json.Decoder(_Ids)
    log = sa.select(schema.event.c.id, schema.event.c.type, schema.event.c.body).order_by(schema.event.c.id)
    for identity, name, body in scope.stream(log):
        kind = kinds.get(name)
        if kind is None or kind.entity not in folds:
            yield Finding(f"event {identity}", f"has the unknown type {name!r}")
            continue
        try:
            ids = decoder.decode(body).ids
        except msgspec.DecodeError as error:
            yield Finding(f"event {identity}", f"cannot be read: {error}")
            continue
        for item, state in folds[kind.entity].apply(kind, ids) if ids and min(ids) > 0 else ():
            yield Finding(f"{kind.entity} {item}", f"event {identity} ({name}) is not allowed in state {state}")
    for machine, table in MACHINES:
        yield from islice(_differences(scope, folds[machine.entity], table), scope.limits.most)


def _differences(scope: Scope, folded: Fold, table: sa.Table) -> Iterator[Finding]:
    entity, states, moves, codes = folded.machine.entity, folded.states, folded.moves, folded.codes
    known = len(states)
    seen = 0
    for identity, state, version in scope.stream(sa.select(table.c.id, table.c.state, table.c.version)):
        code = states[identity] if 0 < identity < known else ABSENT
        if codes[state] != code:
            yield Finding(f"{entity} {identity}", f"is {state}, its facts say {folded.words[code]}")
        elif moves[identity] != version + 1:
            yield Finding(f"{entity} {identity}", f"has moved {version} times, its facts say {moves[identity] - 1}")
        seen += code != ABSENT
    if seen != known - states.count(ABSENT):
        yield Finding(entity, f"facts tell of {known - states.count(ABSENT)} items, {seen} of them have a row")

"""Law 8: the state of every item is what its facts add up to."""

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


_NEXT = bytes((*range(1, 256), 0))
"""For bytes.translate: each number of moves and the next one."""


LARGEST = 2**31
"""No store has as many items of one kind; a damaged fact must not take all memory."""


class _Ids(msgspec.Struct):
    """The part of a fact that the fold reads."""

    ids: list[int]


class Fold:
    """The states of one kind of item, by id: one byte for the state, one for the number of moves (modulo 256)."""

    def __init__(self, machine: StateTable[Any]) -> None:
        self.machine = machine
        self.words = ["absent", *(str(word) for word in machine.states)]
        self.codes = {word: code for code, word in enumerate(self.words)}
        self.states = bytearray(1024)
        self.moves = bytearray(1024)
        self._rules = {event: self._rule(event) for event in machine.moves}

    def _rule(self, event: type[Event]) -> tuple[bytes, int]:
        """Return the codes that the event may leave, and the one it leads to."""
        sources, target = self.machine.moves[event]
        return bytes(self.codes[source] for source in sources or ("absent",)), self.codes[target]

    def apply(self, event: type[Event], ids: list[int]) -> list[tuple[int, str]]:
        """Move the items; return those that the table forbids to move, with their state. They move all the same."""
        allowed, target = self._rules[event]
        if (top := max(ids)) >= len(self.states):
            more = max(top + 1 - len(self.states), len(self.states))
            self.states.extend(bytes(more))
            self.moves.extend(bytes(more))
        states, moves = self.states, self.moves
        first, end = ids[0], ids[0] + len(ids)
        if len(ids) > 8 and ids[-1] == end - 1 and ids == list(range(first, end)):
            before = states[first:end]
            strange = before.translate(None, delete=allowed)
            wrong = [
                (first + n, self.words[code])
                for n, code in enumerate(before if strange else b"")
                if code not in allowed
            ]
            states[first:end] = bytes((target,)) * len(ids)
            moves[first:end] = moves[first:end].translate(_NEXT)
            return wrong
        wrong = [(identity, self.words[states[identity]]) for identity in ids if states[identity] not in allowed]
        for identity in ids:
            states[identity] = target
            moves[identity] = moves[identity] + 1 & 255
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
        if ids and not 0 < min(ids) <= max(ids) <= LARGEST:
            yield Finding(f"event {identity}", f"names the impossible ids {min(ids)} to {max(ids)}")
            continue
        for item, state in folds[kind.entity].apply(kind, ids) if ids else ():
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
        elif moves[identity] != version + 1 & 255:
            yield Finding(
                f"{entity} {identity}", f"has moved {version} times, its facts say {moves[identity] - 1} (modulo 256)"
            )
        seen += code != ABSENT
    if seen != known - states.count(ABSENT):
        yield Finding(entity, f"facts tell of {known - states.count(ABSENT)} items, {seen} of them have a row")

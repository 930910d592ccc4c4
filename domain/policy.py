"""What follows for a request when an agent asks for work or brings it back.

Pure: the same inputs always give the same ruling, so a ruling is stored with its inputs and can be explained later.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from domain.ranges import Range, intersect, paint, subtract, total, union
from domain.transition import IllegalMove, Move


class RequestState(StrEnum):
    NEW = "new"
    ACTIVE = "active"
    SUSPENDED = "suspended"
    COMPLETE = "complete"
    FAILED = "failed"


class RequestVerb(StrEnum):
    """What moves a request: start, complete, suspend follow from agents' calls; a manager suspends, resumes, fails."""

    START = "start"
    COMPLETE = "complete"
    SUSPEND = "suspend"
    RESUME = "resume"
    FAIL = "fail"


S = RequestState
V = RequestVerb
REQUEST_TABLE: Mapping[RequestVerb, Move[RequestState]] = {
    V.START: Move((S.NEW,), S.ACTIVE),
    V.COMPLETE: Move((S.NEW, S.ACTIVE, S.SUSPENDED), S.COMPLETE),
    V.SUSPEND: Move((S.NEW, S.ACTIVE), S.SUSPENDED),
    V.RESUME: Move((S.SUSPENDED,), S.ACTIVE),
    V.FAIL: Move((S.NEW, S.ACTIVE, S.SUSPENDED), S.FAILED),
}
OFFERED = (S.NEW, S.ACTIVE)
"""States in which work of a request is handed out."""


def request_after(state: RequestState, verb: RequestVerb) -> RequestState:
    """Return the state that follows; raise IllegalMove where the table has no such pair."""
    move = REQUEST_TABLE[verb]
    if state not in move.sources:
        raise IllegalMove(f"request: {verb.value} is not allowed in state {state.value!r}")
    return move.target


class PolicySettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one request is handed out and what happens to what comes back incomplete.

    An allocation has `jobs_per_allocation` jobs' worth of events and is leased for `lease_s` seconds. It counts as
    complete when less than `complete_below` of its events (and of the whole request) are missing. Otherwise lost
    events are handed out again (`reallocate`) or replaced by as many new event numbers (`expand`); events lost for the
    `suspend_after`th time suspend the request.
    """

    jobs_per_allocation: Annotated[int, Meta(ge=1, le=1_000_000)] = 10
    lease_s: Annotated[float, Meta(gt=0, le=30 * 86400)] = 86400.0
    complete_below: Annotated[float, Meta(ge=0, le=1)] = 0.01
    on_loss: Literal["reallocate", "expand"] = "reallocate"
    suspend_after: Annotated[int, Meta(ge=1, le=1000)] = 3


class Verdict(StrEnum):
    """What becomes of the missing events of an allocation that came back."""

    COMPLETE = "complete"
    REALLOCATE = "reallocate"
    EXPAND = "expand"
    SUSPEND = "suspend"


class PolicyInputs(msgspec.Struct, frozen=True, kw_only=True):
    """All that a ruling depends on, in events: `held` by the allocation until now, of these `lost` (tried, given up)
    and `untried`; `requested` and `lost_before` are of the whole request; `losses` is how often the lost events had
    been lost before."""

    held: int
    lost: int
    untried: int
    requested: int
    lost_before: int
    losses: int
    settings: PolicySettings


class Ruling(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict with one line that says why."""

    verdict: Verdict
    reason: str


def decide(inputs: PolicyInputs) -> Ruling:
    """Return what follows for the missing events of an allocation."""
    settings = inputs.settings
    missing = inputs.lost + inputs.untried
    if missing == 0:
        return Ruling(verdict=Verdict.COMPLETE, reason=f"all {inputs.held} events are there")
    share = max(missing / max(inputs.held, 1), (inputs.lost_before + missing) / max(inputs.requested, 1))
    if share < settings.complete_below:
        reason = f"{missing} of {inputs.held} events missing, below {settings.complete_below:.3g}: counted as lost"
        return Ruling(verdict=Verdict.COMPLETE, reason=reason)
    if inputs.lost == 0:
        return Ruling(verdict=Verdict.REALLOCATE, reason=f"{inputs.untried} events were not tried: handed out again")
    if inputs.losses + 1 >= settings.suspend_after:
        reason = f"{inputs.lost} events lost for the {inputs.losses + 1}. time, {settings.suspend_after} are the limit"
        return Ruling(verdict=Verdict.SUSPEND, reason=reason)
    if settings.on_loss == "expand":
        reason = f"{inputs.lost} events lost: as many new ones are added to the request"
        return Ruling(verdict=Verdict.EXPAND, reason=reason)
    return Ruling(verdict=Verdict.REALLOCATE, reason=f"{missing} of {inputs.held} events missing: handed out again")


def cut(free: Iterable[Range], size: int, per_job: int, budget: int) -> list[Range]:
    """Return allocations from the front of the free ranges: each at most `size` events, together at most `budget`.

    An allocation is a whole number of jobs (`per_job` events) unless its range ends or the budget is below one job.
    """
    pieces: list[Range] = []
    for gap in union(free):
        first = gap.first
        while first < gap.end and budget > 0:
            events = min(size, gap.end - first, budget)
            if events == budget and first + events < gap.end:
                whole = events - events % per_job
                if whole == 0 and pieces:
                    return pieces
                events = whole or events
            pieces.append(Range(first, events))
            first += events
            budget -= events
        if budget <= 0:
            break
    return pieces


class PieceState(StrEnum):
    """Where an event of a request is; together the four are the request."""

    FREE = "free"
    LEASED = "leased"
    MERGED = "merged"
    LOST = "lost"


class Holding(NamedTuple):
    """How a piece of a request is held: by which allocation if leased, and how often it was lost before."""

    state: PieceState
    allocation: int | None = None
    losses: int = 0


Pieces = list[tuple[Range, Holding]]
"""Disjoint pieces of a request, sorted."""

FREE = Holding(PieceState.FREE)
MERGED = Holding(PieceState.MERGED)
LOST = Holding(PieceState.LOST)


class Return(NamedTuple):
    """What an agent says of its allocation: the range it was given, the part that is done, the part it gave up."""

    allocation: int
    whole: Range
    done: Sequence[Range]
    lost: Sequence[Range]


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a return: the pieces after it, what was counted and refused of the done events, the ruling with its
    inputs, the ranges that the ruling is about, and how many event numbers it adds to the request."""

    pieces: Pieces
    counted: list[Range]
    refused: list[Range]
    inputs: PolicyInputs
    ruling: Ruling
    ranges: list[Range]
    added: int = 0


def hand_out(pieces: Sequence[tuple[Range, Holding]], piece: Range, allocation: int) -> Pieces:
    """Return the pieces after `piece`, which is free, is leased to `allocation`."""
    return paint(pieces, [piece], lambda old: Holding(PieceState.LEASED, allocation, old.losses))


def take_back(
    pieces: Sequence[tuple[Range, Holding]], allocation: int, ranges: Sequence[Range] | None = None
) -> Pieces:
    """Return the pieces after `allocation` lets go of what it holds (within `ranges`); nothing counts as lost."""
    held = _held(pieces, allocation)
    back = held if ranges is None else intersect(held, ranges)
    return paint(pieces, back, lambda old: FREE._replace(losses=old.losses))


def settle(
    pieces: Sequence[tuple[Range, Holding]], back: Return, requested: int, lost_before: int, settings: PolicySettings
) -> Settlement:
    """Return what follows when an allocation comes back.

    `pieces` are those that touch its range. Done events count where the range is still open: held by this allocation,
    or free again after its lease ended. Lost events matter only where this allocation still holds them.
    """
    held = _held(pieces, back.allocation)
    free = [piece for piece, holding in pieces if holding.state is PieceState.FREE]
    counted = intersect(back.done, union(held, intersect(free, [back.whole])))
    lost = subtract(intersect(back.lost, held), counted)
    untried = subtract(held, union(counted, lost))
    inputs = PolicyInputs(
        held=total(union(held, counted)),
        lost=total(lost),
        untried=total(untried),
        requested=requested,
        lost_before=lost_before,
        losses=max((holding.losses for piece, holding in pieces if intersect([piece], lost)), default=0),
        settings=settings,
    )
    refused = subtract(back.done, counted)
    ruling = decide(inputs) if held else _late(back.whole.events, total(counted), total(refused))
    after = paint(pieces, counted, lambda _: MERGED)
    return Settlement(
        pieces=_ruled(after, ruling.verdict, back.allocation, lost, untried),
        counted=counted,
        refused=refused,
        inputs=inputs,
        ruling=ruling,
        ranges=union(lost, untried) if held else subtract([back.whole], counted),
        added=total(lost) if ruling.verdict is Verdict.EXPAND else 0,
    )


def _ruled(pieces: Pieces, verdict: Verdict, allocation: int, lost: list[Range], untried: list[Range]) -> Pieces:
    """Return the pieces after what was not done is given up, handed out again, or replaced by new events."""
    if verdict is Verdict.COMPLETE:
        return paint(pieces, union(lost, untried), lambda _: LOST)
    pieces = take_back(pieces, allocation, untried)
    gone = verdict is Verdict.EXPAND
    return paint(pieces, lost, lambda old: LOST if gone else FREE._replace(losses=old.losses + 1))


def _held(pieces: Sequence[tuple[Range, Holding]], allocation: int) -> list[Range]:
    return union(piece for piece, holding in pieces if holding.allocation == allocation)


def _late(whole: int, counted: int, refused: int) -> Ruling:
    verdict = Verdict.COMPLETE if counted == whole else Verdict.REALLOCATE
    reason = f"the lease had ended: {counted} events counted, {refused} given to others since"
    return Ruling(verdict=verdict, reason=reason)

"""Read what a feed says of sites, and what follows from it (PA-212).

A feed is JSON: `{"updated": 1700000000, "sites": {"alps": {"state": "up", "slots": 400, "drain": false, "releases": ["r7"]}}}`.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta

from domain.controls import Control, Kind, Mode, Scope, about
from domain.types import looked_at

AUTHOR = "feed"
"""Whose word the modes are that a feed brings about; those of people stand above them."""
AHEAD_S = 3600.0
"""So far in the future the time of an answer is a clock that is wrong; it would never be stale."""

Tag = Annotated[str, Meta(min_length=1, max_length=100)]


class SiteWord(msgspec.Struct, frozen=True):
    """What a feed says of one site. `slots`: cores that it offers to this agent, None = it does not say; `drain`: nothing new,
    or nothing new of one type; `releases`: tags of the software that is there, None = it does not say."""

    state: Literal["up", "down", "test"] = "up"
    slots: Annotated[int, Meta(ge=0, le=1_000_000_000)] | None = None
    drain: bool | Literal["processing", "merge"] = False
    releases: Annotated[list[Tag], Meta(max_length=1000)] | None = None
    reason: Annotated[str, Meta(max_length=400)] = ""

    @property
    def mode(self) -> Mode:
        """The mode that follows; down stands above drain, drain above test."""
        if self.state == "down":
            return Mode.DOWN
        if self.drain:
            return Mode.DRAIN if self.drain is True else Mode(f"drain-{self.drain}")
        return Mode.TEST if self.state == "test" else Mode.ENABLED


class Answer(msgspec.Struct, frozen=True):
    """One answer of a feed; `updated` is when it was made (UTC epoch seconds)."""

    updated: Annotated[float, Meta(gt=0)]
    sites: dict[Annotated[str, Meta(max_length=100)], SiteWord]


class Changes(NamedTuple):
    """What follows: modes to be said, and sites of which the feed's word is taken back."""

    say: list[Control]
    lift: list[str]

    @property
    def down(self) -> list[str]:
        """Sites that go down and were not."""
        return [word.subject for word in self.say if word.value == Mode.DOWN]


def read(text: bytes, now: float) -> Answer:
    """Return what a feed answered; raise ValueError for anything else, and for a time that has not come."""
    try:
        answer = msgspec.json.decode(text, type=Answer)
    except RecursionError:
        raise ValueError("got JSON that is nested too deeply, expected a feed") from None
    if answer.updated > now + AHEAD_S:
        raise ValueError(f"updated: got {answer.updated:.0f}, expected a time until now, {now:.0f} (UTC epoch seconds)")
    return answer


def doubtful(down: int, known: int) -> bool:
    """Whether an answer that takes so many of all known sites down at once is more likely wrong than true."""
    return 2 * down > known


def follow(answer: Answer, said: Iterable[Control], sites: Iterable[str], now: float) -> Changes:
    """Return what an answer changes; what it does not tell of, what people said, and trusted sites stay as they are."""
    there, changes = list(said), Changes([], [])
    for site in sites:
        old = about(there, Kind.MODE, Scope.SITE, site)
        if site not in answer.sites or (old is not None and old.author != AUTHOR):
            continue
        trusted = about(there, Kind.TRUST, Scope.SITE, site) is not None
        mode = Mode.ENABLED if trusted else answer.sites[site].mode
        if mode is Mode.ENABLED and old is not None:
            changes.lift.append(site)
        elif mode is not Mode.ENABLED and (old is None or old.value != mode):
            reason = answer.sites[site].reason or "its status"
            changes.say.append(Control(Scope.SITE, site, Kind.MODE, mode, reason, AUTHOR, now, None))
    return changes


def shares(slots: int, held: Mapping[str, int]) -> dict[str, int]:
    """Return how many cores each target of a site may hold: what it holds now, and an even part of the slots that are free."""
    free = max(0, slots - sum(held.values()))
    part, rest = divmod(free, max(1, len(held)))
    return {target: cores + part + (number < rest) for number, (target, cores) in enumerate(held.items())}


looked_at(Answer)

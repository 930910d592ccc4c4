"""When a node is excluded: it fails attempts fast, and most of what it gets (PA-321)."""

from collections.abc import Sequence
from typing import NamedTuple

from domain.rules import Blame


class NodeRules(NamedTuple):
    """`failures` fast ones within `within_s` seconds exclude a node for `exclude_s` seconds; fast is below `fast_s` seconds."""

    fast_s: float = 180.0
    failures: int = 3
    within_s: float = 3600.0
    exclude_s: float = 21_600.0


SUSPECT = (Blame.SITE, Blame.NODE, Blame.INFRASTRUCTURE, Blame.STORAGE, Blame.NETWORK)
"""Blames that a bad node can be behind. A payload's failure counts too if others of its workflow have succeeded."""


def strikes(blame: Blame, ran_s: float | None, rules: NodeRules, *, works_elsewhere: bool) -> bool:
    """Return whether a failed attempt speaks against its node. `ran_s`: seconds that it ran, None if nobody knows."""
    if ran_s is None or ran_s > rules.fast_s:
        return False
    return blame in SUSPECT or (blame is Blame.PAYLOAD and works_elsewhere)


def struck(before: Sequence[float], new: Sequence[float], now: float, rules: NodeRules) -> tuple[list[float], bool]:
    """Return the strikes that still count, times in UTC epoch seconds, and whether they exclude the node."""
    recent = [at for at in (*before, *new) if at > now - rules.within_s][-rules.failures :]
    return recent, len(recent) >= rules.failures


def is_black_hole(good: int, failed: int) -> bool:
    """Return whether a node with enough strikes does more harm than good, by what ended there lately: where five percent of
    many short jobs fail, each node has its strikes within the hour."""
    return good <= failed

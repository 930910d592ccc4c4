"""All that follows a failed attempt of one job: whether and when it is tried again, where not, and with what (PA-401 to PA-409)."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from domain.backoff import CURVES, Curve
from domain.escalation import MoreRules, Need, more
from domain.job import JobType
from domain.retry import ELSEWHERE, Again, Pause, Tried, Verdict, decide
from domain.rules import Action, Blame
from domain.spec import Retry

MORE = (Action.MORE_MEMORY, Action.MORE_TIME)
NODES = (*ELSEWHERE, Blame.INFRASTRUCTURE)
"""Blames after which the next attempt keeps away from the node."""


class Sight(NamedTuple):
    """A job whose attempt has just failed: its attempts, oldest first, what it needed, and the other sites and targets that
    take it."""

    type: JobType
    tried: Sequence[Tried]
    retry: Retry
    need: Need
    others: Sequence[str] = ()
    targets: Sequence[str] = ()


class Decision(NamedTuple):
    """What follows. The next attempt keeps away from `site`, which may be a target alone, and from `node` ("" = from none), and
    gets `need` (None = as before)."""

    verdict: Verdict
    site: str = ""
    node: str = ""
    need: Need | None = None


def judge(sight: Sight, jitter: float, rules: MoreRules, curves: Mapping[str, Curve] = CURVES) -> Decision:
    """Return what follows; `jitter`, 0 to 1, places the delay on the curve (domain/retry.py)."""
    if not sight.tried:
        return Decision(Again(0.0, "never submitted: our own fault, no allowance used"))
    last = sight.tried[-1]
    verdict = decide(sight.tried, sight.type, sight.retry, jitter, sight.others, sight.targets, curves)
    if not isinstance(verdict, Again):
        return Decision(verdict)
    place = last.target if last.rule.action is Action.ELSEWHERE else last.site
    site = place if verdict.elsewhere else ""
    node = last.node if last.rule.blame in NODES else ""
    if last.rule.action not in MORE:
        return Decision(verdict, site, node)
    need = more(last.rule.action, sight.need, rules)
    if need is None:
        cap = f"{rules.memory_cap_mb} MB" if last.rule.action is Action.MORE_MEMORY else f"{rules.wall_cap_s} s"
        return Decision(Pause(f"{verdict.reason}; it has {cap}, the most there is: cut it smaller, or raise the cap"))
    given = f"{need.memory_mb} MB" if last.rule.action is Action.MORE_MEMORY else f"{need.wall_s} s"
    return Decision(verdict._replace(reason=f"{verdict.reason}; next with {given}"), site, node, need)

"""Decide what follows a failed attempt, from the rules that all attempts of the job came under (PA-401 to PA-404)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from domain.backoff import CURVES, PAUSE, Curve, Failed, longest
from domain.exit_codes import SUBMIT_REFUSED
from domain.job import JobType
from domain.rules import Action, Blame, Rule
from domain.spec import BackOff, Retry

OUR_FAULTS = 50
"""So many of our own faults in a row are no accident; the job is given up and named."""


class Tried(NamedTuple):
    """A failed attempt: its exit code, the rule that it came under, where it was, for how many seconds it ran (None:
    nobody knows), when it was closed (UTC epoch seconds), the message, its target at the site."""

    code: int
    rule: Rule
    site: str = ""
    node: str = ""
    ran_s: float | None = None
    closed_at: float = 0.0
    text: str = ""
    target: str = ""


class Again(NamedTuple):
    """Try again after `delay_s` seconds; `elsewhere`: at another site than the last one, or at another target if it was
    refused."""

    delay_s: float
    reason: str
    elsewhere: bool = False


class Pause(NamedTuple):
    """A person has to say how to go on."""

    reason: str


class GiveUp(NamedTuple):
    """No allowance is left, or another attempt is no use."""

    reason: str


Verdict = Again | Pause | GiveUp
ALLOWANCE: Mapping[Blame, Blame] = {
    Blame.PAYLOAD: Blame.PAYLOAD,
    Blame.SITE: Blame.SITE,
    Blame.NODE: Blame.SITE,
    Blame.NETWORK: Blame.INFRASTRUCTURE,
    Blame.STORAGE: Blame.INFRASTRUCTURE,
    Blame.CREDENTIAL: Blame.INFRASTRUCTURE,
    Blame.INFRASTRUCTURE: Blame.INFRASTRUCTURE,
}
"""Which of the three allowances a failure uses (PA-403); what is nobody's fault, or our own, uses none."""
ELSEWHERE = (Blame.SITE, Blame.NODE, Blame.NOBODY)
"""What another site has no part in: the next attempt goes there at once (PA-409)."""


def decide(
    tried: Sequence[Tried],
    kind: JobType,
    retry: Retry,
    jitter: float,
    others: Sequence[str] = (),
    targets: Sequence[str] = (),
    curves: Mapping[str, Curve] = CURVES,
) -> Verdict:
    """Return what follows, given all attempts so far, oldest first; the last one has just failed.

    Each allowance counts its own failures; our own faults use none, the first is mended at once. `jitter`, 0 to 1, places
    the delay in [0, the curve's] (full jitter). What only time mends, such as a full storage element, waits between half
    the cap and all of it from the first time on. `others` are sites where the job may run, besides the one where it
    failed: what is the site's fault goes at once to one where it has not failed for that reason yet. `targets` are all where
    it may be submitted, `curves` the back-offs by name.
    """
    last = tried[-1]
    rule, blame = last.rule, last.rule.blame
    told = f"{rule.name} (exit code {last.code})"
    if rule.action is Action.FAIL:
        return GiveUp(f"{told} is never repeated")
    if rule.action is Action.ELSEWHERE:
        return _refused(tried, retry, jitter, targets)
    if blame is Blame.AGENT:
        return _our_own(tried, retry, jitter)
    spent = Counter(map(_use, tried))[_use(last)]
    allowed = _allowed(blame, kind, retry)
    if blame is not Blame.NOBODY:
        told += f", attempt {spent} of {allowed} blamed on the {blame}"
        if last.code == SUBMIT_REFUSED:
            told = f"{told}: {last.target or last.site} says: {last.text}"[:400]
        if spent >= allowed and last.code == SUBMIT_REFUSED:
            return Pause(f"{told}; mend what it names, then `retry`")
        if spent >= allowed:
            return GiveUp(told)
    if rule.action is Action.PAUSE:
        return Pause(f"{told}: a rule says that a person decides")
    failed_at = {one.site for one in tried if one.rule.blame in ELSEWHERE}
    if blame in ELSEWHERE and set(others) - failed_at:
        return Again(0.0, f"{told}; next at another site than {last.site}", elsewhere=True)
    failed = Failed(spent, blame, kind, rule.name, last.code, last.site, last.node)
    return _later(rule, failed, retry.curve(blame, kind), jitter, told, curves)


def _use(tried: Tried) -> Blame | int | None:
    """Return the allowance that a failure uses. Refused submissions are counted apart: nothing of them ever ran, so a wrong
    word in a configuration loses no event and leaves what is allowed untouched (PA-310)."""
    return tried.code if tried.code == SUBMIT_REFUSED else ALLOWANCE.get(tried.rule.blame)


def _allowed(blame: Blame, kind: JobType, retry: Retry) -> int:
    use = ALLOWANCE.get(blame, blame)
    if use is Blame.PAYLOAD:
        return retry.merge if kind is JobType.MERGE else retry.processing
    return retry.site if use is Blame.SITE else retry.infrastructure


def _later(
    rule: Rule, failed: Failed, wanted: BackOff, jitter: float, told: str, curves: Mapping[str, Curve]
) -> Verdict:
    if rule.action is Action.WAIT:
        return Again(wanted.cap_s * (1.0 + jitter) / 2.0, told)
    if wanted.curve == PAUSE:
        return Pause(f"{told}: its back-off says that a person decides")
    try:
        longest_s = longest(curves[wanted.curve], failed, wanted.base_s, wanted.cap_s)
    except Exception as error:  # somebody else's curve: a job waits all the same, and says why so long
        longest_s = longest(CURVES["exponential"], failed, wanted.base_s, wanted.cap_s)
        told += f"; back-off {wanted.curve} cannot be used ({type(error).__name__}: {error}), exponential instead"
    return Again(longest_s * jitter, told[:500])


def _doubling(n: int, retry: Retry, jitter: float) -> float:
    """Return the pause after the n-th fault in a row, none after the first."""
    return 0.0 if n == 1 else longest(CURVES["exponential"], Failed(n - 1), retry.base_s, retry.cap_s) * jitter


def _refused(tried: Sequence[Tried], retry: Retry, jitter: float, targets: Sequence[str]) -> Verdict:
    """A target that has refused it less often gets it next, at once the first time; else a person decides (PA-310).

    Refusals of before a person's `retry` count too, so that each target is asked once more then. One that refuses it more
    often than its allowance for faults of sites is the only one that is open to it.
    """
    last = tried[-1]
    refusals = Counter(one.target for one in tried if one.rule.action is Action.ELSEWHERE)
    times = refusals[last.target]
    told = f"{last.rule.name} (exit code {last.code}): {last.target or last.site} says: {last.text}"
    if times > retry.site or all(refusals[target] >= times for target in targets):
        return Pause(f"{told[:380]}; no other target has taken it: raise that limit, or let it ask for less")
    return Again(_doubling(times, retry, jitter), f"{told[:400]}; next at another target", elsewhere=True)


def _our_own(tried: Sequence[Tried], retry: Retry, jitter: float) -> Verdict:
    """The first of our own faults is mended at once; if it comes again and again, something is wrong that stays."""
    last = tried[-1]
    row = len(list(takewhile(lambda one: one.rule.blame is Blame.AGENT, reversed(tried))))
    if row >= OUR_FAULTS:
        return GiveUp(f"{last.rule.name} (exit code {last.code}), {row} times in a row")
    return Again(_doubling(row, retry, jitter), f"{last.rule.name}: our own fault, no allowance used")

"""What several targets said at one time, booked at once: answers to submissions, listings, directories that are gone."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from storage import attempts, breakers
from storage.attempts import Failure, Seen
from storage.transaction import Tx


class Answer(NamedTuple):
    """What a target said to a submission: jobs that it has with its own ids for them, such as it never will take, and such as it
    does not take now."""

    target: str
    accepted: Mapping[int, str]
    for_good: Sequence[Failure] = ()
    for_now: Sequence[Failure] = ()


def answered_all(tx: Tx, answers: Sequence[Answer]) -> list[None]:
    """Book what targets said."""
    attempts.submitted(tx, {owner: batch for answer in answers for owner, batch in answer.accepted.items()})
    attempts.fail(tx, [no for answer in answers for no in answer.for_good], reason="refused by the batch system")
    for_now = [no for answer in answers for no in answer.for_now]
    attempts.fail(tx, for_now, outcome="void", reason="refused by the batch system for now")
    breakers.answers(tx, {answer.target: len(answer.accepted) for answer in answers if answer.accepted})
    return [None] * len(answers)


class Told(NamedTuple):
    """What a listing says of jobs: back in the queue of the batch system, why they wait there, running, ended."""

    back: list[int]
    waits: Mapping[int, str]
    started: Mapping[int, Seen]
    ended: Mapping[int, Seen]


def told_all(tx: Tx, listings: Sequence[Told]) -> list[None]:
    """Book what the listings of targets say."""
    attempts.returned(tx, [owner for told in listings for owner in told.back])
    attempts.waits(tx, {owner: reason for told in listings for owner, reason in told.waits.items()})
    attempts.started(tx, {owner: seen for told in listings for owner, seen in told.started.items()})
    attempts.ended(tx, {owner: seen for told in listings for owner, seen in told.ended.items()})
    return [None] * len(listings)


def cleaned_all(tx: Tx, listed: Sequence[Sequence[str]]) -> list[None]:
    """Nothing is left of these attempts at their targets."""
    attempts.cleaned(tx, [token for tokens in listed for token in tokens])
    return [None] * len(listed)

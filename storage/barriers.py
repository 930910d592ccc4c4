"""Barriers: a job directory stays until every actor that wants it has set its flag (PA-016, PA-517).

Who takes part is said by the configuration, not by rows: an actor that is taken out of it holds nothing any more.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import sqlalchemy as sa

from storage import schema
from storage.engine import Connection, among, among_words
from storage.transaction import Tx

attempt, flag = schema.attempt, schema.flag

MAY_RUN = ("killed", "lost")
"""Outcomes whose directories nobody waits for: there is no proof of an end that somebody could have heard of."""


class Missing(NamedTuple):
    """A participant that has not set its flag for `attempts` ended attempts, the oldest of which closed at `since`."""

    participant: str
    attempts: int
    since: float


def set_flag(tx: Tx, participant: str, job_ids: Sequence[int]) -> None:
    """The participant has what it wants of every closed attempt of these jobs. Setting twice changes nothing."""
    mine = sa.exists().where(flag.c.attempt_id == attempt.c.id, flag.c.participant == participant)
    open_ones = sa.select(attempt.c.id, sa.literal(participant), sa.literal(tx.now)).where(
        among(attempt.c.job_id, list(job_ids)), attempt.c.live.is_(None), attempt.c.cleaned.is_(None), ~mine
    )
    tx.connection.execute(flag.insert().from_select(["attempt_id", "participant", "at"], open_ones))


def passed(participants: Iterable[str]) -> list[sa.ColumnElement[bool]]:
    """Conditions on attempts: the flag of each participant is set, or nobody can wait for it."""
    return [
        sa.or_(
            attempt.c.outcome.in_(MAY_RUN),
            sa.exists().where(flag.c.attempt_id == attempt.c.id, flag.c.participant == participant),
        )
        for participant in participants
    ]


def missing(connection: Connection, participants: Iterable[str], before: float) -> list[Missing]:
    """Return who has not set its flag for attempts that closed before `before` (UTC epoch seconds)."""
    found = []
    for participant in participants:
        closed = (attempt.c.live.is_(None), attempt.c.cleaned.is_(None), attempt.c.closed_at < before)
        query = sa.select(sa.func.count(), sa.func.min(attempt.c.closed_at)).where(
            *closed, *(~condition for condition in passed([participant]))
        )
        count, since = connection.execute(query).one()
        if count:
            found.append(Missing(participant, int(count), float(since)))
    return found


_LOWER = flag.delete().where(flag.c.attempt_id.in_(sa.select(attempt.c.id).where(among_words(attempt.c.token))))


def lower(tx: Tx, tokens: Sequence[str]) -> None:
    """These attempts are cleaned: their flags have done their duty."""
    tx.connection.execute(_LOWER, {"words": tokens})

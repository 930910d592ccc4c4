"""What waits for a moment on the wall clock, when that clock is set back."""

from typing import Any

import sqlalchemy as sa

from domain.job import JobState
from domain.transfer import TransferState
from storage import schema
from storage.engine import Connection
from storage.transaction import Tx

SLACK_S = 60.0
"""A clock that goes back by less than this was corrected, not set back."""

_WAITING: tuple[tuple[sa.Table, tuple[Any, ...]], ...] = (
    (schema.job, (JobState.COOLOFF,)),
    (schema.transfer, (TransferState.WAITING, TransferState.PARKED)),
)


def set_back(connection: Connection, now: float) -> bool:
    """Return whether something waits since a moment that is still to come: the clock was ahead, and is no longer."""
    return any(
        connection.execute(sa.select(table.c.id).where(_stranded(table, states, now)).limit(1)).first()
        for table, states in _WAITING
    )


def bring_forward(tx: Tx) -> int:
    """Let all that waits since a moment still to come be due now; return how many items that were.

    Their moment was counted from a clock that has since gone back by at least as much: they would wait so much longer.
    """
    return sum(
        tx.connection.execute(table.update().where(_stranded(table, states, tx.now)).values(wake_at=tx.now)).rowcount
        for table, states in _WAITING
    )


def _stranded(table: sa.Table, states: tuple[Any, ...], now: float) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.state.in_(states), table.c.wake_at > now, table.c.since > now + SLACK_S)

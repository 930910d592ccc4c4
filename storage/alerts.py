"""Alerts: what a person should know, each once with a count."""

from typing import NamedTuple

import sqlalchemy as sa

from storage import schema
from storage.transaction import Tx

alert, audit = schema.alert, schema.audit


class Alert(NamedTuple):
    """`level` is info, warning, error or critical; `code` names the meaning, `subject` what it is about."""

    id: int
    level: str
    code: str
    subject: str
    text: str
    first_at: float
    last_at: float
    times: int


def raise_alert(tx: Tx, level: str, code: str, subject: str, text: str) -> None:
    """Open an alert, or count one more of the same."""
    where = (alert.c.code == code, alert.c.subject == subject)
    again = (
        alert.update()
        .where(*where)
        .values(level=level, text=text, last_at=tx.now, count=alert.c.count + 1, closed_at=None)
    )
    if tx.connection.execute(again).rowcount == 0:
        tx.connection.execute(
            alert.insert().values(level=level, code=code, subject=subject, text=text, first_at=tx.now, last_at=tx.now)
        )


def close_alert(tx: Tx, code: str, subject: str) -> None:
    """What it told of is over."""
    where = (alert.c.code == code, alert.c.subject == subject, alert.c.closed_at.is_(None))
    tx.connection.execute(alert.update().where(*where).values(closed_at=tx.now))


def open_alerts(connection: sa.Connection) -> list[Alert]:
    """Return what is open, newest first."""
    query = sa.select(*(alert.c[name] for name in Alert._fields[:-1]), alert.c.count).where(alert.c.closed_at.is_(None))
    return [Alert(*tuple(row)) for row in connection.execute(query.order_by(alert.c.last_at.desc()))]


def record(tx: Tx, who: str, verb: str, arguments: str, result: str) -> None:
    """Write one line of the audit: a command and what came of it."""
    tx.connection.execute(audit.insert().values(at=tx.now, who=who, verb=verb, arguments=arguments, result=result))

"""What operators said of sites, targets, workflows, jobs and the agent: kept until its time is over or it is lifted."""

from collections.abc import Iterable

import sqlalchemy as sa

from domain import events as e
from domain.controls import Control, Kind, Mode, Scope, in_force
from domain.job import JOB_TABLE, OVER, JobState
from storage import schema
from storage.engine import among, among_words
from storage.moves import move
from storage.transaction import Tx

control, job = schema.control, schema.job

HOLDABLE = (JobState.NEW, JobState.QUEUED, JobState.COOLOFF)
"""States in which a job can be held; in the hands of a batch system it goes on, and is held when it comes back."""
_CLOCK = "cooloff:"


def load(connection: sa.Connection, now: float | None = None) -> list[Control]:
    """Return everything that was said, or only what is in force at `now`; held jobs are left out."""
    found = _load(connection, control.c.scope != Scope.JOB)
    return found if now is None else in_force(found, now)


def over(connection: sa.Connection, now: float) -> list[Control]:
    """Return that whose time is over and that nobody has taken away yet."""
    return _load(connection, control.c.until <= now)


def held_jobs(connection: sa.Connection, ids: Iterable[int] = ()) -> dict[int, Control]:
    """Return the holds of jobs, of all or of those named, by job."""
    chosen = [str(identity) for identity in ids]
    where = [control.c.subject.in_(chosen)] if chosen else []
    return {int(one.subject): one for one in _load(connection, control.c.scope == Scope.JOB, *where)}


def next_end(connection: sa.Connection) -> float | None:
    """Return when the next one ends by itself (UTC epoch seconds)."""
    end: float | None = connection.execute(sa.select(sa.func.min(control.c.until))).scalar_one_or_none()
    return end


def _load(connection: sa.Connection, *where: sa.ColumnElement[bool]) -> list[Control]:
    query = sa.select(*(control.c[name] for name in Control._fields)).where(*where).order_by(control.c.id)
    return [Control(Scope(row.scope), row.subject, Kind(row.kind), *row[3:]) for row in connection.execute(query)]


def put(tx: Tx, new: Control) -> None:
    """Say it, in place of what was said before of the same thing; a site that is enabled needs no row."""
    lift(tx, new.scope, new.subject, new.kind)
    if new.kind is not Kind.MODE or new.value != Mode.ENABLED:
        tx.connection.execute(control.insert().values(**new._asdict() | {"reason": new.reason[:500]}))


def lift(tx: Tx, scope: Scope, subject: str, kind: Kind) -> bool:
    """Take it back; return whether there was anything."""
    where = (control.c.scope == scope, control.c.subject == subject, control.c.kind == kind)
    return bool(tx.connection.execute(control.delete().where(*where)).rowcount)


# ---------------------------------------------------------------- jobs
def hold_jobs(tx: Tx, ids: list[int], reason: str, author: str, until: float | None) -> list[int]:
    """Hold jobs until they are resumed; return those of which this was not said before: that they are held, or until when.

    One that a batch system has goes on, and is held when it comes back to the queue.
    """
    known = held_jobs(tx.connection, ids) if ids else {}
    other = [identity for identity, old in known.items() if old.until != until]
    said = {"reason": reason[:500], "author": author, "since": tx.now, "until": until}
    if other:
        where = (control.c.scope == Scope.JOB, among_words(control.c.subject, [str(identity) for identity in other]))
        tx.connection.execute(control.update().where(*where).values(said))
    new = [identity for identity in ids if identity not in known]
    rows = [
        Control(Scope.JOB, str(identity), Kind.HOLD, "", reason[:500], author, tx.now, until)._asdict()
        for identity in new
    ]
    if rows:
        tx.connection.execute(control.insert(), rows)
        catch(tx, new)
    return sorted([*new, *other])


def catch(tx: Tx, ids: Iterable[int] = ()) -> list[int]:
    """Pause the jobs that are to be held (of those named, or all) and are in nobody's hands; remember how each stood."""
    said = held_jobs(tx.connection, ids)
    columns = (job.c.id, job.c.state, job.c.wake_at)
    query = sa.select(*columns).where(among(job.c.id, list(said)), job.c.state.in_(HOLDABLE))
    caught = tx.connection.execute(query).all() if said else []
    by_reason: dict[str, list[int]] = {}
    for row in caught:
        stood = row.state if row.wake_at is None else f"{_CLOCK}{row.wake_at}"
        _remember(tx, row.id, stood)
        by_reason.setdefault(f"held: {said[row.id].words}", []).append(row.id)
    for reason, paused in by_reason.items():
        move(tx, job, JOB_TABLE, e.JobsPaused(ids=paused, reason=reason), wake_at=None)
    return [row.id for row in caught]


def _remember(tx: Tx, identity: int, stood: str) -> None:
    where = (control.c.scope == Scope.JOB, control.c.subject == str(identity))
    tx.connection.execute(control.update().where(*where).values(value=stood))


def prune(tx: Tx) -> None:
    """Forget holds of jobs that have ended for good."""
    said = held_jobs(tx.connection)
    over = sa.select(job.c.id).where(among(job.c.id, list(said)), job.c.state.in_(OVER))
    for identity in tx.connection.execute(over).scalars().all() if said else []:
        lift(tx, Scope.JOB, str(identity), Kind.HOLD)


def resume_jobs(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Give held jobs back the state that they had; return those of which a hold was taken away."""
    said = held_jobs(tx.connection, ids) if ids else {}
    queued, new, cooling = [], [], dict[float, list[int]]()
    for identity, hold in said.items():
        if hold.value.startswith(_CLOCK):
            cooling.setdefault(float(hold.value.removeprefix(_CLOCK)), []).append(identity)
        elif hold.value == JobState.NEW:
            new.append(identity)
        elif hold.value:
            queued.append(identity)
        lift(tx, Scope.JOB, str(identity), Kind.HOLD)
    move(tx, job, JOB_TABLE, e.JobsReadmitted(ids=new, reason=reason))
    move(tx, job, JOB_TABLE, e.JobsRequeued(ids=queued, reason=reason))
    for wake_at, back in cooling.items():
        until = max(wake_at, tx.now)
        move(tx, job, JOB_TABLE, e.JobsCooledOff(ids=back, until=until, reason=reason), wake_at=until)
    return sorted(said)


def readmit(tx: Tx, ids: list[int], reason: str) -> list[int]:
    """Let jobs be looked at as if they were new."""
    return move(tx, job, JOB_TABLE, e.JobsReadmitted(ids=ids, reason=reason))

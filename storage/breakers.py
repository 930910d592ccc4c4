"""What attempts say of the sites and targets where they ran: breakers, and sums by the hour (PA-213, PA-214, PA-215).

Booked in the transaction that closes the attempts, so that evidence and attempts never differ.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import sqlalchemy as sa

from domain.breaker import (
    MARKS,
    Breaker,
    BreakerState,
    Judged,
    Mark,
    Rules,
    alive,
    answered,
    judged,
    state_of,
    telling,
    unanswered,
)
from domain.controls import Scope
from domain.rules import Blame
from storage import alerts, bulk, schema
from storage.engine import among, among_words
from storage.transaction import Tx

attempt, breaker, hourly = schema.attempt, schema.breaker, schema.hourly

RULES = Rules()
HOUR_S = 3600
ALERT = "breaker-open"

Place = tuple[Scope, str]
Change = Callable[[Breaker], Breaker]
_SUMS = {Mark.GOOD: "good", Mark.BAD: "bad", Mark.PAYLOAD: "payload"}


def load(connection: sa.Connection) -> dict[Place, Breaker]:
    """Return every breaker that ever learnt something, by what it is of."""
    return _known(connection.execute(_ALL))


def note(tx: Tx, blames: Mapping[int, Blame | None]) -> None:
    """Book what the live attempts of jobs say, by whom each blames (None: nobody, it ended well); to be called before they
    are closed. Our own faults say nothing."""
    speaking = [identity for identity, blame in blames.items() if blame in MARKS]
    if not speaking:
        return
    sums = tx.connection.execute(_SUM, {"ids": speaking}).all()
    names = {name for row in sums for name in (row.site, row.target)}
    known = _named(tx.connection, names)
    plain = not any(blames.values()) and all(each.until is None for each in known.values())
    said = _alike(sums) if plain else _each(tx, blames, speaking)
    by_place: dict[Place, list[Judged]] = defaultdict(list)
    for row in sums:
        attempts = said[row.site, row.target]
        marks = {Mark.GOOD: int(row.number)}
        if not plain:
            counted = telling(known.get((Scope.TARGET, row.target), Breaker()), attempts, RULES, tx.now)
            marks = Counter(each.mark for each in counted)
        _add(tx, row.site, row.target, marks, int(row.started), float(row.waited_s))
        by_place[Scope.SITE, row.site] += attempts
        by_place[Scope.TARGET, row.target] += attempts
    changes: dict[Place, Change] = {
        place: partial(judged, attempts=attempts, rules=RULES, now=tx.now) for place, attempts in by_place.items()
    }
    _change(tx, known, changes)


_LIVE = (among(attempt.c.job_id), attempt.c.live == 1)
_WAIT = attempt.c.started_at - attempt.c.submitted_at
_SUM = (
    sa.select(
        attempt.c.site,
        attempt.c.target,
        sa.func.count().label("number"),
        sa.func.count(_WAIT).label("started"),
        sa.func.coalesce(sa.func.sum(sa.case((_WAIT > 0, _WAIT), else_=0.0)), 0.0).label("waited_s"),
    )
    .where(*_LIVE)
    .group_by(attempt.c.site, attempt.c.target)
)
"""Live attempts of jobs at each place, and how long those that started had waited, by the node's clock and ours."""
_EACH = sa.select(attempt.c.job_id, attempt.c.site, attempt.c.target, attempt.c.created_at).where(*_LIVE)


def _alike(sums: Sequence[Any]) -> dict[tuple[str, str], list[Judged]]:
    """Return the last good attempts at each place, of which nothing else need be known while all is well."""
    good = Judged(Mark.GOOD, 0.0)
    return {(row.site, row.target): [good] * min(row.number, RULES.window) for row in sums}


def _each(tx: Tx, blames: Mapping[int, Blame | None], ids: list[int]) -> dict[tuple[str, str], list[Judged]]:
    said: dict[tuple[str, str], list[Judged]] = defaultdict(list)
    for row in tx.connection.execute(_EACH, {"ids": ids}):
        said[row.site, row.target].append(Judged(MARKS[blames[row.job_id]], row.created_at))
    return said


def no_answer(tx: Tx, target: str, error: str) -> None:
    """A submission had no answer: that says nothing of other targets of the site."""
    _alone(tx, target, partial(unanswered, rules=RULES, now=tx.now, error=error))


def answers(tx: Tx, jobs: Mapping[str, int]) -> None:
    """Submissions were answered, of so many jobs by target."""
    changes = {
        (Scope.TARGET, target): partial(answered, jobs=count, rules=RULES, now=tx.now) for target, count in jobs.items()
    }
    _change(tx, _named(tx.connection, jobs), changes)


def sign_of_life(tx: Tx, target: str) -> None:
    """A target that was silent says again how its jobs are."""
    _alone(tx, target, partial(alive, now=tx.now))


def _alone(tx: Tx, target: str, change: Change) -> None:
    _change(tx, _named(tx.connection, [target]), {(Scope.TARGET, target): change})


def close(tx: Tx, scope: Scope, name: str) -> bool:
    """Forget what was learnt of a place, on an operator's word; return whether anything was known."""
    alerts.close_alert(tx, ALERT, f"{scope} {name}")
    gone = breaker.delete().where(breaker.c.scope == scope, breaker.c.name == name)
    return bool(tx.connection.execute(gone).rowcount)


_ALL = sa.select(*(breaker.c[name] for name in ("scope", "name", *Breaker._fields)))
_NAMED = _ALL.where(among_words(breaker.c.name))


def _named(connection: sa.Connection, names: Iterable[str]) -> dict[Place, Breaker]:
    return _known(connection.execute(_NAMED, {"words": sorted(names)}))


def _known(rows: Iterable[Any]) -> dict[Place, Breaker]:
    return {(Scope(row[0]), row[1]): Breaker(*row[2:]) for row in rows}


def _change(tx: Tx, known: Mapping[Place, Breaker], changes: Mapping[Place, Change]) -> None:
    rows = []
    for place, change in changes.items():
        before = known.get(place, Breaker())
        after = change(before)
        if after == before:
            continue
        scope, name = place
        rows.append({"scope": str(scope), "name": name, **after._asdict(), "evidence": after.evidence[:500]})
        _tell(tx, place, before, after)
    bulk.put(tx.connection, breaker, ("scope", "name"), rows)


def _tell(tx: Tx, place: Place, before: Breaker, after: Breaker) -> None:
    """Open an alert when a place gets no more jobs, close it when it gets them again."""
    scope, name = place
    if after.until is not None and after.opens != before.opens:
        text = f"{scope} {name} gets no jobs for {after.until - tx.now:.0f} s: {after.evidence}"
        alerts.raise_alert(tx, "error", ALERT, f"{scope} {name}", text)
    elif before.until is not None and state_of(after, tx.now) is BreakerState.CLOSED:
        alerts.close_alert(tx, ALERT, f"{scope} {name}")


# ---------------------------------------------------------------- sums by the hour
def _add(tx: Tx, site: str, target: str, marks: Mapping[Mark, int], started: int, waited_s: float) -> None:
    hour = int(tx.now // HOUR_S)
    more = {name: marks.get(mark, 0) for mark, name in _SUMS.items()} | {"started": started, "waited_s": waited_s}
    given = {f"new_{name}": value for name, value in more.items()}
    here = {"at_hour": hour, "at_site": site, "at_target": target}
    if tx.connection.execute(_GROW, here | given).rowcount == 0:
        tx.connection.execute(hourly.insert(), {"hour": hour, "site": site, "target": target, **more})


_GROWN = (*_SUMS.values(), "started", "waited_s")
_GROW = (
    hourly.update()
    .where(*(hourly.c[name] == sa.bindparam(f"at_{name}") for name in ("hour", "site", "target")))
    .values({name: hourly.c[name] + sa.bindparam(f"new_{name}") for name in _GROWN})
)
"""Made once: building a statement costs more than running it."""


def sums(connection: sa.Connection, since: float) -> dict[tuple[str, str], dict[str, float]]:
    """Return good, bad, payload, started and waited_s of each (site, target) since a time, by whole hours."""
    names = ("good", "bad", "payload", "started", "waited_s")
    query = sa.select(hourly.c.site, hourly.c.target, *(sa.func.sum(hourly.c[name]).label(name) for name in names))
    rows = connection.execute(
        query.where(hourly.c.hour >= int(since // HOUR_S)).group_by(hourly.c.site, hourly.c.target)
    )
    return {(site, target): dict(zip(names, map(float, sums), strict=True)) for site, target, *sums in rows}


def prune(tx: Tx, before: float) -> None:
    """Forget the hours before a time."""
    tx.connection.execute(hourly.delete().where(hourly.c.hour < int(before // HOUR_S)))

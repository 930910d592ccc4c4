"""Limits of targets that operators set while the agent runs: each counts in place of the one in the configuration (PA-206).

A number that a person has set stays where it is: thresholds of such a target do not grow. It holds over restarts and reloads,
until it is taken back or the target is gone.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from config.settings import Settings
from config.site_settings import Limits
from storage import schema
from storage.transaction import Tx

override = schema.override

LIMITS = tuple(name for name in Limits.__struct_fields__ if name != "dynamic")
"""What can be set."""
MOST = 10**12
"""Larger numbers are a slip."""


class Override(NamedTuple):
    """A limit of a target that `who` set at `since` (UTC epoch seconds); `value` None: there is no limit."""

    target: str
    limit: str
    value: int | None
    who: str
    reason: str
    since: float

    @property
    def key(self) -> str:
        """The key in the table of its target that it takes the place of."""
        return f"targets.{self.target}.limits.{self.limit}"

    @property
    def words(self) -> str:
        """Whose number holds."""
        return f"{self.who}'s {'any' if self.value is None else self.value} holds"


class OverrideView(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that an operator set; `configured`: what the file says, `known`: whether the target is configured at all."""

    target: str
    limit: str
    value: int | None
    configured: int | None
    known: bool
    who: str
    reason: str
    since: float


def load(connection: sa.Connection) -> list[Override]:
    """Return what was set, by target."""
    query = sa.select(*(override.c[name] for name in Override._fields))
    return [Override(*row) for row in connection.execute(query.order_by(override.c.target, override.c["limit"]))]


def put(tx: Tx, new: Override) -> None:
    """Set a limit, in place of what was set before."""
    take_back(tx, new.target, new.limit)
    tx.connection.execute(override.insert().values(**new._asdict() | {"reason": new.reason[:500]}))


def take_back(tx: Tx, target: str, limit: str) -> bool:
    """Let the configuration decide again; return whether anything was set."""
    where = (override.c.target == target, override.c["limit"] == limit)
    return bool(tx.connection.execute(override.delete().where(*where)).rowcount)


def forget(tx: Tx, targets: Sequence[str]) -> None:
    """These targets are gone."""
    tx.connection.execute(override.delete().where(override.c.target.in_(targets)))


def fault(limit: str, value: int | None) -> str:
    """Return why a limit cannot be set to a value, "" if it can."""
    if limit not in LIMITS:
        return f"limit: got {limit!r}, expected one of {', '.join(LIMITS)}"
    if value is not None and value > MOST:
        return f"{limit}: got {value}, expected at most {MOST}"
    try:
        msgspec.convert({limit: value}, Limits)
    except msgspec.ValidationError:
        least = 0 if limit.startswith(("processing", "merge")) else 1
        given = "no limit" if value is None else value
        return f"{limit}: got {given}, expected a whole number from {least} on"
    return ""


def beside(connection: sa.Connection, settings: Settings) -> Settings:
    """Return the settings with the limits that are in force."""
    return over(settings, load(connection))


def over(settings: Settings, known: Iterable[Override]) -> Settings:
    """Return the settings with these limits in place of their own; what another release could set is left out."""
    given: dict[str, dict[str, int | None]] = {}
    for one in known:
        if not fault(one.limit, one.value):
            given.setdefault(one.target, {})[one.limit] = one.value
    if not given:
        return settings
    sites = {
        name: msgspec.structs.replace(
            site,
            targets={
                at: msgspec.structs.replace(target, limits=_limits(target.limits, given.get(at, {})))
                for at, target in site.targets.items()
            },
        )
        for name, site in settings.sites.items()
    }
    return msgspec.structs.replace(settings, sites=sites)


def _limits(configured: Limits, given: dict[str, int | None]) -> Limits:
    """A number of jobs that a person has said does not grow."""
    still = {"dynamic": False} if given.keys() & {"processing", "merge"} else {}
    return msgspec.structs.replace(configured, **given, **still)


def views(known: Iterable[Override], settings: Settings) -> list[OverrideView]:
    """Return what was set beside what the configuration says."""
    targets = {name: target for site in settings.sites.values() for name, target in site.targets.items()}
    return [
        OverrideView(
            **one._asdict(),
            configured=getattr(targets[one.target].limits, one.limit, None) if one.target in targets else None,
            known=one.target in targets,
        )
        for one in known
    ]

"""How operators see who may run where: each site with its targets, what was said and what the agent found out."""

import sqlalchemy as sa

from config.settings import Settings
from config.site_settings import Site
from domain.breaker import Breaker, BreakerState, state_of
from domain.controls import Control, Kind, Scope, about
from domain.job import JobType
from domain.matching import Place, shut
from storage import added_sites, controls, leaving, overrides, sites, workflows
from storage.offers import NO_OFFER
from storage.overrides import OverrideView
from storage.sites import Picture
from storage.views.records import View


class BreakerView(View, frozen=True, kw_only=True):
    """A breaker: `recent` marks of the last attempts, oldest first (+ good, - by the fault of the place, . of the payload);
    `until` when it is half-open."""

    state: str
    recent: str = ""
    errors: int = 0
    until: float | None = None
    good: int = 0
    evidence: str = ""


class TargetView(View, frozen=True, kw_only=True):
    """A target: `shut` says why it takes nothing ("" = it does), `closed` the same by type; `limits` and `held` are jobs by type;
    `cores` and `memory_mb` are held by them, `cores_limit` and `memory_limit_mb` how many may be (null: any number), `free` is what
    may come; `said`: limits that operators set."""

    name: str
    shut: str
    closed: dict[str, str]
    limits: dict[str, int]
    held: dict[str, int]
    pending: dict[str, int]
    free: dict[str, int]
    cores: int
    cores_limit: int | None
    memory_mb: int
    memory_limit_mb: int | None
    score: float
    breaker: BreakerView
    said: list[OverrideView]


class SiteView(View, frozen=True, kw_only=True):
    """A site: its mode, whose word that is and until when; who added it beside the file ("" = it stands there); cores and software
    that a feed says are there; attempts that ended well and by its fault, in the window of the configuration."""

    name: str
    enabled: bool
    added: str
    mode: str
    words: str
    until: float | None
    slots: int | None
    releases: list[str] | None
    good: int
    bad: int
    breaker: BreakerView
    targets: list[TargetView]


class ControlView(View, frozen=True, kw_only=True):
    """Something that was said; `until` None: until it is lifted."""

    scope: str
    subject: str
    kind: str
    value: str
    reason: str
    author: str
    since: float
    until: float | None


def all_sites(connection: sa.Connection, settings: Settings, now: float) -> list[SiteView]:
    """Return every site, configured or on its way out of the configuration, as the queue sees it."""
    settings = leaving.beside(connection, settings)
    picture = sites.survey(
        connection, settings, workflows.load(connection), now, sites.record(connection, settings, now)
    )
    set_by_hand, added = overrides.views(picture.overrides, settings), added_sites.authors(connection)
    return [_site(picture, name, site, set_by_hand, added.get(name, ""), now) for name, site in settings.sites.items()]


def said(connection: sa.Connection, now: float) -> list[ControlView]:
    """Return everything that is in force, holds of jobs too."""
    found = [*controls.load(connection, now), *controls.held_jobs(connection).values()]
    return [ControlView(**{**one._asdict(), "value": _value(one)}) for one in found]


def _value(one: Control) -> str:
    return "" if one.kind is Kind.HOLD else one.value


def _site(picture: Picture, name: str, site: Site, said: list[OverrideView], added: str, now: float) -> SiteView:
    mode = about(picture.controls, Kind.MODE, Scope.SITE, name)
    offer = picture.offers.get(name, NO_OFFER)
    record = [sums for (at, _), sums in picture.record.items() if at == name]
    return SiteView(
        name=name,
        enabled=site.enabled,
        added=added,
        mode=mode.value if mode else "enabled",
        words=mode.words if mode else "",
        until=mode.until if mode else None,
        slots=offer.slots,
        releases=None if offer.releases is None else sorted(offer.releases),
        good=sum(int(sums["good"]) for sums in record),
        bad=sum(int(sums["bad"]) for sums in record),
        breaker=_breaker(picture.breakers.get((Scope.SITE, name), Breaker()), now),
        targets=[_target(picture, place, said, now) for place in picture.places if place.site == name],
    )


def _target(picture: Picture, place: Place, said: list[OverrideView], now: float) -> TargetView:
    load = picture.loads.get(place.target)
    held = {str(kind): load.held[kind].jobs if load else 0 for kind in JobType}
    return TargetView(
        name=place.target,
        shut=shut(place),
        closed={str(kind): text for kind, text in place.closed.items()},
        limits={str(kind): count for kind, count in picture.limits[place.target].jobs.items()},
        held=held,
        pending={str(kind): load.held[kind].pending if load else 0 for kind in JobType},
        free={str(kind): 0 if kind in place.closed else max(0, count) for kind, count in place.free.items()},
        cores=load.cores if load else 0,
        cores_limit=picture.limits[place.target].cores,
        memory_mb=load.memory_mb if load else 0,
        memory_limit_mb=picture.limits[place.target].memory_mb,
        score=round(place.score, 3),
        breaker=_breaker(picture.breakers.get((Scope.TARGET, place.target), Breaker()), now),
        said=[one for one in said if one.target == place.target],
    )


def _breaker(breaker: Breaker, now: float) -> BreakerView:
    state = state_of(breaker, now)
    until = breaker.until if state is not BreakerState.CLOSED else None
    return BreakerView(
        state=str(state), recent=breaker.recent, errors=breaker.errors, until=until, good=breaker.good,
        evidence=breaker.evidence,
    )  # fmt: skip

"""Match queued jobs with free capacity, and say why a job waits (PA-204, PA-206, PA-207, PA-210, PA-215, PA-218)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import NamedTuple

from domain.job import JobType
from domain.siting import Lists
from domain.spread import Order, Spread

NOTHING: Mapping[JobType, str] = MappingProxyType({})


class Candidate(NamedTuple):
    """A queued job, in queue order. `sites` empty = any; `pinned` = the one site that holds its input; `avoid`: the site
    where it has failed, or the target that refused it, and others may take it ("" = nowhere); `releases`: tags of
    the software that it needs; `rank`: jobs of one rank are equals; `group`: whose work it is; `spread`: where its workflow is,
    None = that does not matter; `denied`: sites where it may not run; `architecture`: of the node, "" = any."""

    id: int
    type: JobType
    sites: frozenset[str]
    pinned: str | None
    cores: int = 1
    memory_mb: int = 0
    avoid: str = ""
    releases: frozenset[str] = frozenset()
    rank: int = 0
    group: str = ""
    spread: Spread | None = None
    denied: frozenset[str] = frozenset()
    gpus: int = 0
    architecture: str = ""


class Place(NamedTuple):
    """A target: free places by job type, of any type (`jobs`), cores and memory; None = without limit.

    `closed` says why it takes no jobs of a type, as "code: text". `picky`: only workflows that name the site get there.
    Of places with as much room the one with the higher `score` is taken. `releases`: tags of the software that is there, None
    = not known. `groups`: it is meant for their workflows (none named: for all); `fillers`: others get what these leave.
    `gpus`: as many one job may have; `architectures`: of its nodes, as far as the configuration says.
    """

    target: str
    site: str
    free: Mapping[JobType, int]
    closed: Mapping[JobType, str] = NOTHING
    jobs: int | None = None
    cores: int | None = None
    memory_mb: int | None = None
    picky: bool = False
    score: float = 1.0
    releases: frozenset[str] | None = None
    groups: frozenset[str] = frozenset()
    fillers: bool = False
    gpus: int = 0
    architectures: frozenset[str] = frozenset()

    def room(self, job: Candidate) -> int:
        """Return how many jobs like this one may come."""
        if job.type in self.closed or not (may_run(job, self) and self.suits(job)):
            return 0
        return self.fits(job)

    def fits(self, job: Candidate) -> int:
        """Return how many jobs like this one fit in, whether they may come or not."""
        room = self.free.get(job.type, 0)
        for limit, need in ((self.jobs, 1), (self.cores, job.cores), (self.memory_mb, job.memory_mb)):
            if limit is not None and need:
                room = min(room, limit // need)
        return max(0, room)

    def wanted_by(self, job: Candidate) -> bool:
        """Whether the workflow names the site, where that is asked for; merges stay where their inputs lie."""
        return not self.picky or self.site in job.sites or job.pinned is not None

    def equips(self, job: Candidate) -> bool:
        """Whether the software that the job needs is there, as far as that is known."""
        return self.releases is None or job.releases <= self.releases

    def has(self, job: Candidate) -> bool:
        """Whether its nodes are of the architecture that the job asks for, with as many GPUs."""
        return job.gpus <= self.gpus and (not job.architecture or job.architecture in self.architectures)

    def meant_for(self, job: Candidate) -> bool:
        """Whether it is there for the group of the job, or lets others in; merges stay where their inputs lie."""
        return not self.groups or self.fillers or job.group in self.groups or job.pinned is not None

    def within(self, job: Candidate) -> bool:
        """Whether the workflow may have jobs there beside those that it has; merges go where they have to."""
        return job.spread is None or job.pinned is not None or job.spread.takes(self.site)

    def suits(self, job: Candidate) -> bool:
        """Whether the site has what the job needs, is meant for it and may be taken by its workflow."""
        return self.has(job) and self.wanted_by(job) and self.equips(job) and self.meant_for(job) and self.within(job)

    def order(self, job: Candidate) -> Order:
        """Return when its turn comes there among jobs of its rank."""
        if self.groups and job.spread is not None and self.site in job.spread.used:
            return Order.THERE
        return Order.MEANT if self.groups and job.group in self.groups else Order.FILLER

    def less(self, job: Candidate) -> "Place":
        """Return what is left when a job like this one has taken its room."""
        return self._replace(
            free={**self.free, job.type: self.free[job.type] - 1},
            jobs=None if self.jobs is None else self.jobs - 1,
            cores=None if self.cores is None else self.cores - job.cores,
            memory_mb=None if self.memory_mb is None else self.memory_mb - job.memory_mb,
        )


class Choice(NamedTuple):
    """Where jobs go, and the second best place for them ("" = there was none)."""

    target: str
    runner_up: str


def match(candidates: Iterable[Candidate], places: Sequence[Place]) -> dict[Choice, list[int]]:
    """Return the jobs to release, by choice. Jobs go in queue order, each to its allowed place of most worth.

    Worth is room times score: places of one score fill evenly, a better one gets more. Places that are meant for some groups
    take jobs of one rank in their own order (PA-210): of workflows that are there, of those groups, of others.
    """
    market = _Market(places)
    if not any(place.groups for place in places):
        market.serve(candidates, Order.FILLER)
        return market.released
    for _, equals in groupby(candidates, key=lambda job: job.rank):
        waiting = list(equals)
        for turn in Order:
            waiting = market.serve(waiting, turn)
    return market.released


class _Market:
    """What is left of the places, where workflows have taken some, and which jobs went where."""

    def __init__(self, places: Sequence[Place]) -> None:
        self._left = list(places)
        self._spread: dict[int, Spread] = {}
        self.released: dict[Choice, list[int]] = {}

    def serve(self, jobs: Iterable[Candidate], turn: Order) -> list[Candidate]:
        """Give each job its place, as far as its turn has come there; return those that got none."""
        groups: dict[tuple[object, ...], _Alike] = {}
        waiting = []
        for job in jobs:
            mine = groups.get(job[1:])
            if mine is None:
                mine = groups[job[1:]] = _Alike(self._as_now(job), self._left, turn)
            first, second = mine.best()
            if first < 0:
                waiting.append(job)
                continue
            self._left[first] = self._left[first].less(job)
            for group in groups.values():
                group.changed(first, self._left[first])
            self._take(job, self._left[first].site, groups.values())
            choice = Choice(self._left[first].target, self._left[second].target if second >= 0 else "")
            self.released.setdefault(choice, []).append(job.id)
        return waiting

    def _as_now(self, job: Candidate) -> Candidate:
        known = None if job.spread is None else self._spread.get(job.spread.workflow)
        return job if known is None else job._replace(spread=known)

    def _take(self, job: Candidate, site: str, groups: Iterable["_Alike"]) -> None:
        """A workflow that may not be everywhere has come to a site: it may bar others to all its jobs."""
        if job.spread is None or job.spread.most is None:
            return
        spread = self._spread.get(job.spread.workflow, job.spread)
        if site not in spread.used:
            spread = self._spread[spread.workflow] = spread.at(site)
            for group in groups:
                group.spreads(spread, self._left)


class _Alike:
    """Jobs that differ in nothing that matters here, and what each place is worth for the next of them."""

    def __init__(self, job: Candidate, places: Sequence[Place], turn: Order) -> None:
        self._job = job
        self._turn = turn
        self._worth = [self._value(place) for place in places]

    def _value(self, place: Place) -> float:
        return place.room(self._job) * place.score if place.order(self._job) <= self._turn else 0.0

    def best(self) -> tuple[int, int]:
        """Return the numbers of the best place and of the second best; -1 = none."""
        worth = self._worth
        most = max(worth, default=0.0)
        if most <= 0:
            return -1, -1
        first = worth.index(most)
        worth[first] = 0.0
        next_most = max(worth)
        second = worth.index(next_most) if next_most > 0 else -1
        worth[first] = most
        return first, second

    def changed(self, number: int, place: Place) -> None:
        """A place has less room; who may be there has not changed."""
        if self._worth[number]:
            self._worth[number] = place.fits(self._job) * place.score

    def spreads(self, spread: Spread, places: Sequence[Place]) -> None:
        """A workflow has come to a further site."""
        if self._job.spread is not None and self._job.spread.workflow == spread.workflow:
            self._job = self._job._replace(spread=spread)
            self._worth = [self._value(place) for place in places]


def room_for(job: Candidate, places: Iterable[Place]) -> int:
    """Return how many jobs like this one could be released now."""
    rooms: Counter[str] = Counter()
    for place in places:
        rooms[place.site] += place.room(job)
    return sum(rooms.values()) if job.spread is None or job.pinned is not None else job.spread.most_of(rooms)


def narrowed(job: Candidate, own: Lists) -> Candidate:
    """Return the job with lists of its own beside those of its workflow: it goes where both allow it and neither denies it."""
    both = job.sites & own.allowed
    denied = job.denied | own.denied
    if job.sites and own.allowed and not both:
        return job._replace(denied=denied | job.sites)
    return job._replace(sites=both or job.sites or own.allowed, denied=denied)


def shunning(job: Candidate, avoid: str, places: Iterable[Place]) -> Candidate:
    """Return the job as one that avoids a site or a target, if another one that takes its type may run it (PA-409)."""
    shy = job._replace(avoid=avoid)
    return shy if any(job.type not in place.closed for place in suiting(shy, places)) else job


def suiting(job: Candidate, places: Iterable[Place]) -> Iterator[Place]:
    """Yield the targets that a job may be given to, now or once they are open and have room: the queue's choice, and the way to
    another site after a failure."""
    return (place for place in places if may_run(job, place) and place.suits(job))


def shut(place: Place) -> str:
    """Return why a place takes no jobs of any type, "" if it takes some."""
    return next(iter(place.closed.values())) if all(kind in place.closed for kind in JobType) else ""


def may_run(job: Candidate, place: Place) -> bool:
    """Whether a job is allowed at a target."""
    if job.avoid and job.avoid in (place.site, place.target):
        return False
    if job.pinned is not None and place.site != job.pinned:
        return False
    return place.site not in job.denied and (not job.sites or place.site in job.sites)


def nowhere(job: Candidate, places: Iterable[Place]) -> str:
    """Return why none of these targets may ever run the job, open or not, "" if one may (PA-205, PA-310)."""
    there = [place for place in places if job.pinned in (None, place.site)]
    if not there and job.pinned is not None:
        return f"its input lies at {job.pinned}, which has no batch target"
    allowed = [place for place in there if may_run(job, place)]
    if not allowed:
        return _unlisted(job)
    if any(place.has(job) for place in allowed):
        return ""
    gpus = [f"{job.gpus} GPU{'s' if job.gpus > 1 else ''} for a job"] if job.gpus else []
    kind = [f"nodes of {job.architecture}"] if job.architecture else []
    return f"none of {_names(allowed)} has {' and '.join(gpus + kind)}"


def _unlisted(job: Candidate) -> str:
    """Say which lists leave no site with a batch target."""
    lies = f"its input lies at {job.pinned}; " if job.pinned is not None else ""
    if not lies and not job.denied:
        return f"none of {', '.join(sorted(job.sites)) or 'the sites'} has a batch target"
    allowed, denied = (", ".join(sorted(sites)) for sites in (job.sites, job.denied))
    return f"{lies}no site with a batch target is left: allowed {allowed or 'any'}, denied {denied or 'none'}"


def wait_reason(job: Candidate, places: Iterable[Place]) -> str:
    """Return the one code why a queued job is not released, with a text; `places` are all targets, closed ones too."""
    reason = _wait_reason(job, places)
    return f"{reason}; it keeps away from {job.avoid} after a failure there" if job.avoid else reason


def _wait_reason(job: Candidate, places: Iterable[Place]) -> str:
    places = list(places)
    if reason := nowhere(job, places):
        known = job.pinned is None or any(place.site == job.pinned for place in places)
        return f"{'no-site' if known else 'no-data'}: {reason}"
    allowed = [place for place in places if may_run(job, place) and place.has(job)]
    if any(place.room(job) for place in allowed):
        return "next-sweep: a place is free, the queue has not come to it yet"
    open_ones = [place for place in allowed if job.type not in place.closed]
    if not open_ones:
        return _closed([place.closed[job.type] for place in allowed])
    equipped = [place for place in open_ones if place.equips(job)]
    if not equipped:
        return f"no-release: {_names(open_ones)} without {', '.join(sorted(job.releases))}"
    wanted = [place for place in equipped if place.wanted_by(job)]
    if not wanted:
        return f"site-test: {_names(equipped)} in test, only workflows that name the site run there"
    meant = [place for place in wanted if place.meant_for(job)]
    if not meant:
        groups = ", ".join(sorted(frozenset[str]().union(*(place.groups for place in wanted))))
        return f"group: {_names(wanted)} only for {groups}; its workflow is of {job.group or 'no group'}"
    beyond = [place for place in meant if not place.within(job) and place.fits(job)]
    if beyond and job.spread is not None:
        return f"spread: {job.spread.words}; {_names(beyond)} beyond that {'has' if len(beyond) == 1 else 'have'} room"
    return _full(job, meant)


def _full(job: Candidate, places: Sequence[Place]) -> str:
    """Say what is used up at places that are open to the job."""
    if all(place.free.get(job.type, 0) <= 0 for place in places):
        return f"no-slot: {_names(places)} full for {job.type} jobs"
    probing = [place for place in places if place.jobs is not None]
    if len(probing) == len(places):
        return f"breaker-open: {_names(probing)} under probation, the probes are under way"
    return f"quota: {job.cores} cores and {job.memory_mb} MB are not free at {_names(places)}"


def _names(places: Sequence[Place]) -> str:
    return ", ".join(sorted(place.target for place in places))


def _closed(reasons: Sequence[str]) -> str:
    """Return the code that most places give, and what each of them says."""
    codes = [reason.partition(": ")[0] for reason in reasons]
    code = max(dict.fromkeys(codes), key=codes.count)
    texts = dict.fromkeys(reason.partition(": ")[2] for reason in reasons)
    return f"{code}: {'; '.join(texts)}"
